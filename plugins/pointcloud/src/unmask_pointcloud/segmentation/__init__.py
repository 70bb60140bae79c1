"""Part segmentation: what each point of a cloud is part of, by a fine-tuned encoder."""

from unmask_pointcloud.segmentation.iou import MeanIoU, mean_iou
from unmask_pointcloud.segmentation.labels import PartLabels
from unmask_pointcloud.segmentation.pointwise import Pointwise

__all__ = ["MeanIoU", "PartLabels", "Pointwise", "mean_iou"]
