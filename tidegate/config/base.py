"""What every part of the configuration file has in common: camelCase, frozen, unknown keys refused."""

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class ConfigModel(BaseModel):
    """A part of the file. Immutable; an unknown key is an error that names its path."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, validate_default=False, use_attribute_docstrings=True
    )
