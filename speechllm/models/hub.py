"""Pretrained parts: safetensors only, no remote code, loud about every key that does not fit.

A checkpoint is a folder or a Hub id. What may be missing or left over is named by the part that
loads (a pretraining head, say); anything else ends in one ValueError that lists it.
"""

import contextlib
import importlib
import re
import sys
import typing

from speechllm import files, places, ranges
from speechllm.config import suggest

PICKLE = "only safetensors are read; of a pickle, speechllm import SOURCE --convert makes them once"

LAYERS = "num_hidden_layers encoder_layers decoder_layers num_layers n_layer n_layers".split()


def read_config(config_class, pretrained: str, changes: dict, inside: str = ""):
    """Read a checkpoint's configuration, or make one from nothing, with `changes` in it.

    Args:
        config_class: the class of transformers, e.g. WhisperConfig.
        pretrained: folder or Hub id; empty for the class's defaults.
        changes: fields of `config_class`.
        inside: the table of a bigger model's configuration that holds this part's, if it has one.

    Raises:
        ValueError: no checkpoint there, one of another family, a field or value that is wrong.
    """
    known = config_class().to_dict()
    for key, value in changes.items():
        if key not in known:
            raise ValueError(f"{config_class.__name__} has no field {key!r}; {suggest(key, known)}")
        _sane(key, value, config_class.__name__)
    fields = read_fields(pretrained) if pretrained else {}
    fields = files.expect(fields.get(inside, fields), dict, f"{pretrained}: config.json: {inside}")
    family = fields.get("model_type", config_class.model_type)
    if family != config_class.model_type:
        wanted = config_class.model_type
        raise ValueError(
            f"{pretrained}: wanted a {wanted} checkpoint, its config.json says {family}"
        )
    for key, value in fields.items():
        _sane(key, value, f"{pretrained}: config.json")
    try:
        return config_class.from_dict({**fields, **changes})
    except Exception as error:  # huggingface_hub's strict dataclasses raise types of their own
        told = one_line(error).rsplit("ValueError: ", 1)[-1]
        raise ValueError(f"{pretrained or 'config'}: {told}") from None


def _sane(key: str, value, where: str) -> None:
    """Refuse numbers that no model has, before a layer of it is built.

    Raises:
        ValueError: a number of layers or a size out of range, or one that is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if not -ranges.LARGEST <= value <= ranges.LARGEST:
        raise ValueError(f"{where}: {key}: wanted a number that can be meant, got {value}")
    if key in LAYERS:
        typing.get_args(ranges.Layers)[1].check(value, f"{where}: {key}")


def newer(name: str, module: str = "transformers"):
    """Take from transformers what older versions of it have not.

    Raises:
        ValueError: it is not in the one that is installed.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise outdated(f"has no {name}") from None


def outdated(what: str) -> ValueError:
    """Make the error that says what the installed transformers lacks."""
    from transformers import __version__

    return ValueError(
        f"transformers {__version__} {what}, a newer one has: pip install -U transformers"
    )


def read_fields(pretrained: str) -> dict:
    """Read the config.json of a checkpoint.

    Raises:
        ValueError: no such folder, not on the Hub (or no network), no model_type in it.
    """
    from transformers import PretrainedConfig

    place = places.find(pretrained, "checkpoint")
    try:
        fields, _ = PretrainedConfig.get_config_dict(str(place or pretrained))
    except Exception as error:  # a config.json that is no object ends in any
        raise ValueError(f"{pretrained}: no checkpoint there: {one_line(error)}") from None
    if not isinstance(fields.get("model_type"), str):
        raise ValueError(f"{pretrained}: no checkpoint there: no config.json with a model_type")
    return fields


def load_weights(model_class, pretrained: str, config, ignore=(), rename=None, **options):
    """Load a checkpoint into `model_class`.

    Args:
        model_class: of transformers, with from_pretrained.
        pretrained: folder or Hub id.
        config: the configuration, as `read_config` gives it.
        ignore: regular expressions (matched at the start) of keys that may be missing or too many.
        rename: {regular expression: replacement} on the checkpoint's keys, or None.
        options: further arguments of from_pretrained; parameters are float32 unless asked.

    Raises:
        ValueError: no safetensors there, keys missing, unexpected or of another shape.
    """
    place = places.find(pretrained, "checkpoint")
    try:
        with quiet():
            model, info = model_class.from_pretrained(
                str(place or pretrained),
                config=config,
                key_mapping=rename,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # so that all of them are listed, below
                output_loading_info=True,
                **{"dtype": "float32", **options},
            )
    except MemoryError:
        raise
    except Exception as error:  # damaged files end in errors of many libraries
        raise ValueError(f"{pretrained}: cannot be loaded: {one_line(error)} ({PICKLE})") from None
    wrong = {
        "missing": info["missing_keys"],
        "unexpected": info["unexpected_keys"],
        "other shape": [f"{k} {tuple(a)} for {tuple(b)}" for k, a, b in info["mismatched_keys"]],
    }
    wrong = {what: _not_ignored(keys, ignore) for what, keys in wrong.items()}
    lists = "; ".join(f"{what}: {some(keys)}" for what, keys in wrong.items() if keys)
    if lists:
        raise ValueError(f"{pretrained} does not fit {type(model).__name__} ({lists})")
    if rename:  # ours, of a part of a bigger checkpoint: save_pretrained is not to do it backwards
        model._weight_conversions = None
    return model


@contextlib.contextmanager
def quiet():
    """Keep transformers from reporting what we report; progress bars only on a terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _not_ignored(keys, ignore) -> list[str]:
    return sorted(key for key in keys if not any(re.match(p, key) for p in ignore))


def some(keys: list[str], most: int = 6) -> str:
    """List the first of some names, and say how many more there are."""
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def one_line(error: BaseException, most: int = 300) -> str:
    """Say an error of somebody else's in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= most else words[:most] + " ..."


@contextlib.contextmanager
def without_bitsandbytes():
    """Let peft be imported and used without bitsandbytes, whose import asks the Hub for code.

    Only quantised layers want it, and who made them has imported it already.
    """
    if "bitsandbytes" in sys.modules:
        yield
        return
    sys.modules["bitsandbytes"] = None
    try:
        _look_again()
        yield
    finally:
        del sys.modules["bitsandbytes"]
        _look_again()


def _look_again() -> None:
    """Let peft forget whether it has seen bitsandbytes."""
    from peft import import_utils

    import_utils.is_bnb_available.cache_clear()
    import_utils.is_bnb_4bit_available.cache_clear()
