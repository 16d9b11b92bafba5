# SPDX-License-Identifier: Apache-2.0
"""Sounds as 16-bit samples of one channel: files by libsndfile, other rates by libsoxr (the
libraries that akin itself reads sounds with), names spoken by espeak-ng."""
import array
import ctypes
import io
import subprocess
import wave

RATE = 16000
MOST_SECONDS = 5        # longer clips are cut


class Info(ctypes.Structure):
    """SF_INFO of sndfile.h."""
    _fields_ = [('frames', ctypes.c_int64), ('samplerate', ctypes.c_int),
                ('channels', ctypes.c_int), ('format', ctypes.c_int), ('sections', ctypes.c_int),
                ('seekable', ctypes.c_int)]


class Spec(ctypes.Structure):
    """soxr_io_spec_t."""
    _fields_ = [('itype', ctypes.c_int), ('otype', ctypes.c_int), ('scale', ctypes.c_double),
                ('e', ctypes.c_void_p), ('flags', ctypes.c_ulong)]


INT16_INTERLEAVED = 3   # SOXR_INT16_I


def libraries():
    """Loaded in each process of the pool when it is first needed."""
    if not hasattr(libraries, 'both'):
        sndfile, soxr = ctypes.CDLL('libsndfile.so.1'), ctypes.CDLL('libsoxr.so.0')
        sndfile.sf_open.restype = ctypes.c_void_p
        sndfile.sf_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(Info)]
        sndfile.sf_readf_short.restype = ctypes.c_int64
        sndfile.sf_readf_short.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        sndfile.sf_close.argtypes = [ctypes.c_void_p]
        sndfile.sf_strerror.restype = ctypes.c_char_p
        sndfile.sf_strerror.argtypes = [ctypes.c_void_p]
        soxr.soxr_io_spec.restype = Spec
        soxr.soxr_io_spec.argtypes = [ctypes.c_int, ctypes.c_int]
        soxr.soxr_oneshot.restype = ctypes.c_char_p
        soxr.soxr_oneshot.argtypes = [
            ctypes.c_double, ctypes.c_double, ctypes.c_uint, ctypes.c_void_p, ctypes.c_size_t,
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
            ctypes.POINTER(Spec), ctypes.c_void_p, ctypes.c_void_p]
        libraries.both = sndfile, soxr
    return libraries.both


def resampled(samples, rate):
    """array('h') of one channel, at RATE."""
    if rate == RATE or not samples:
        return samples
    soxr = libraries()[1]
    most = len(samples) * RATE // rate + 16
    out, done = (ctypes.c_int16 * most)(), ctypes.c_size_t()
    spec = soxr.soxr_io_spec(INT16_INTERLEAVED, INT16_INTERLEAVED)
    spec.flags |= 8     # SOXR_NO_DITHER: the same samples each time
    error = soxr.soxr_oneshot(rate, RATE, 1, samples.buffer_info()[0], len(samples), None, out,
                              most, ctypes.byref(done), ctypes.byref(spec), None, None)
    if error:
        raise ValueError('soxr: ' + error.decode())
    result = array.array('h')
    result.frombytes(memoryview(out).cast('B')[:2 * done.value])
    return result


def read(path):
    """A sound file as bytes of samples."""
    sndfile = libraries()[0]
    info = Info()
    file = sndfile.sf_open(path.encode(), 0x10, ctypes.byref(info))
    if not file:
        raise ValueError(sndfile.sf_strerror(None).decode())
    try:
        frames = min(info.frames, MOST_SECONDS * info.samplerate)
        if not 1 <= info.channels <= 8 or not 1000 <= info.samplerate <= 384000 or frames < 1:
            raise ValueError(f'{info.frames} frames of {info.channels} channels at '
                             f'{info.samplerate} Hz')
        room = (ctypes.c_int16 * (frames * info.channels))()
        got = sndfile.sf_readf_short(file, room, frames)
    finally:
        sndfile.sf_close(file)
    samples = array.array('h')
    samples.frombytes(memoryview(room).cast('B')[:2 * got * info.channels])
    if info.channels > 1:           # their mean
        several = [samples[c::info.channels] for c in range(info.channels)]
        samples = array.array('h', [sum(s) // len(s) for s in zip(*several)])
    return resampled(samples, info.samplerate).tobytes()


def spoken(text, voice):
    """A text spoken by espeak-ng, without the silence that it ends with."""
    said = subprocess.run(['espeak-ng', '-v', voice, '--stdin', '--stdout'], input=text.encode(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if said.returncode or len(said.stdout) < 46:
        raise ValueError('espeak-ng: ' + said.stderr.decode(errors='replace').strip())
    with wave.open(io.BytesIO(said.stdout)) as f:
        rate = f.getframerate()
        samples = array.array('h', f.readframes(MOST_SECONDS * rate))
    while samples and samples[-1] == 0:
        samples.pop()
    if not samples:
        raise ValueError('espeak-ng said nothing')
    return resampled(samples, rate).tobytes()
