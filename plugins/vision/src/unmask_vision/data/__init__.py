"""Where images come from: one data module per kind of source, each in a module of its own."""

from unmask_vision.data.array_data import ArraysData
from unmask_vision.data.augment import NestedCrops, TwoViews
from unmask_vision.data.digits import DigitsData
from unmask_vision.data.faces import DrawnFacesData
from unmask_vision.data.folder import ImageFolderData
from unmask_vision.data.hub import HubImagesData
from unmask_vision.data.lit_chunks import LitImagesData
from unmask_vision.data.objects import DrawnObjectsData
from unmask_vision.data.shards import ImageShardsData
from unmask_vision.data.torchvision_sets import TorchvisionData
from unmask_vision.data.volumes import SolidVolumesData

__all__ = [
    "ArraysData",
    "DigitsData",
    "DrawnFacesData",
    "DrawnObjectsData",
    "HubImagesData",
    "ImageFolderData",
    "ImageShardsData",
    "LitImagesData",
    "NestedCrops",
    "SolidVolumesData",
    "TorchvisionData",
    "TwoViews",
]
