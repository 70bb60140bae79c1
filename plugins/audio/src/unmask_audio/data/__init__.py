"""Where sound comes from: a data module for each kind of source, and `AudioData` for any other source."""

from unmask_audio.data.files import AudioFilesData
from unmask_audio.data.hub import HubAudioData
from unmask_audio.data.lit_chunks import LitAudioData
from unmask_audio.data.module import AudioData
from unmask_audio.data.shards import AudioShardsData
from unmask_audio.data.spoken import SpokenDigitsData
from unmask_audio.data.synth import SynthData
from unmask_audio.data.torchaudio_sets import TorchaudioData

__all__ = [
    "AudioData",
    "AudioFilesData",
    "AudioShardsData",
    "HubAudioData",
    "LitAudioData",
    "SpokenDigitsData",
    "SynthData",
    "TorchaudioData",
]
