"""Where sound comes from: one data module per kind of source, each in a module of its own."""

from unmask_audio.data.files import AudioFilesData
from unmask_audio.data.hub import HubAudioData
from unmask_audio.data.synth import SynthData
from unmask_audio.data.torchaudio_sets import TorchaudioData

__all__ = ["AudioFilesData", "HubAudioData", "SynthData", "TorchaudioData"]
