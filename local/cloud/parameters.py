"""Parameter Store of Systems Manager where MiniStack takes more than AWS does, or keeps more."""

from __future__ import annotations

from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import ssm

Data = dict[str, Any]

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
_MOST = {"Standard": 4096, "Advanced": 8192}
# https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
_VERSIONS = 100
# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParametersByPath.html
_PAGE = 10


def install() -> None:
    """Puts the corrections in place."""
    stock_put, stock_by_path = ssm._put_parameter, ssm._get_parameters_by_path

    def put_parameter(data: Data) -> Any:
        name, value = data.get("Name") or "", data.get("Value") or ""
        tier = data.get("Tier") or ssm._default_tier(data, value, ssm._parameters.get(name))
        most = _MOST.get(tier, _MOST["Advanced"])  # Intelligent-Tiering takes what an advanced one does
        if len(value) > most:
            word = "Standard" if tier == "Standard" else "Advanced"
            text = f"{word} tier parameters support a maximum parameter value of {most} characters."
            return error_response_json("ValidationException", text, 400)
        full = len(ssm._parameter_history.get(name) or []) >= _VERSIONS
        if full and data.get("Overwrite") and (oldest := ssm._parameter_history[name][0])["Labels"]:
            text = f"Version {oldest['Version']}, the oldest version, can't be deleted because it has a label."
            return error_response_json("ParameterMaxVersionLimitExceeded", text, 400)
        answer = stock_put(data)
        history = ssm._parameter_history.get(name) or []
        del history[:-_VERSIONS]
        return answer

    def get_parameters_by_path(data: Data) -> Any:
        if not 1 <= (data.get("MaxResults") or _PAGE) <= _PAGE:
            text = f"Value '{data['MaxResults']}' at 'maxResults' failed to satisfy constraint: between 1 and {_PAGE}"
            return error_response_json("ValidationException", text, 400)
        return stock_by_path(data)

    ssm._put_parameter = put_parameter
    ssm._get_parameters_by_path = get_parameters_by_path
