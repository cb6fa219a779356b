from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.job_issue import JobIssue


T = TypeVar("T", bound="ExecutionInformation")


@_attrs_define
class ExecutionInformation:
    """How a job ran.

    Attributes:
        submitted_date_time (datetime.datetime | None | str | Unset): When the job was submitted.
        started_date_time (datetime.datetime | None | str | Unset): When the job began to run.
        ended_date_time (datetime.datetime | None | str | Unset): When the job ended.
        estimated_units (float | None | Unset): What the job is estimated to cost, in units.
        errors (list[JobIssue] | None | Unset): Why the job failed.
        warnings (list[JobIssue] | None | Unset): What went wrong without ending the job.
    """

    submitted_date_time: datetime.datetime | None | str | Unset = UNSET
    started_date_time: datetime.datetime | None | str | Unset = UNSET
    ended_date_time: datetime.datetime | None | str | Unset = UNSET
    estimated_units: float | None | Unset = UNSET
    errors: list[JobIssue] | None | Unset = UNSET
    warnings: list[JobIssue] | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        submitted_date_time: None | str | Unset
        if isinstance(self.submitted_date_time, Unset):
            submitted_date_time = UNSET
        elif isinstance(self.submitted_date_time, datetime.datetime):
            submitted_date_time = self.submitted_date_time.isoformat()
        else:
            submitted_date_time = self.submitted_date_time

        started_date_time: None | str | Unset
        if isinstance(self.started_date_time, Unset):
            started_date_time = UNSET
        elif isinstance(self.started_date_time, datetime.datetime):
            started_date_time = self.started_date_time.isoformat()
        else:
            started_date_time = self.started_date_time

        ended_date_time: None | str | Unset
        if isinstance(self.ended_date_time, Unset):
            ended_date_time = UNSET
        elif isinstance(self.ended_date_time, datetime.datetime):
            ended_date_time = self.ended_date_time.isoformat()
        else:
            ended_date_time = self.ended_date_time

        estimated_units: float | None | Unset
        if isinstance(self.estimated_units, Unset):
            estimated_units = UNSET
        else:
            estimated_units = self.estimated_units

        errors: list[dict[str, Any]] | None | Unset
        if isinstance(self.errors, Unset):
            errors = UNSET
        elif isinstance(self.errors, list):
            errors = []
            for errors_type_0_item_data in self.errors:
                errors_type_0_item = errors_type_0_item_data.to_dict()
                errors.append(errors_type_0_item)

        else:
            errors = self.errors

        warnings: list[dict[str, Any]] | None | Unset
        if isinstance(self.warnings, Unset):
            warnings = UNSET
        elif isinstance(self.warnings, list):
            warnings = []
            for warnings_type_0_item_data in self.warnings:
                warnings_type_0_item = warnings_type_0_item_data.to_dict()
                warnings.append(warnings_type_0_item)

        else:
            warnings = self.warnings

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if submitted_date_time is not UNSET:
            field_dict["submittedDateTime"] = submitted_date_time
        if started_date_time is not UNSET:
            field_dict["startedDateTime"] = started_date_time
        if ended_date_time is not UNSET:
            field_dict["endedDateTime"] = ended_date_time
        if estimated_units is not UNSET:
            field_dict["estimatedUnits"] = estimated_units
        if errors is not UNSET:
            field_dict["errors"] = errors
        if warnings is not UNSET:
            field_dict["warnings"] = warnings

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.job_issue import JobIssue  # noqa: PLC0415

        d = {**src_dict}

        def _parse_submitted_date_time(data: object) -> datetime.datetime | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                componentsschemas_date_time_type_0 = datetime.datetime.fromisoformat(data)

                return componentsschemas_date_time_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | str | Unset, data)

        submitted_date_time = _parse_submitted_date_time(d.pop("submittedDateTime", UNSET))

        def _parse_started_date_time(data: object) -> datetime.datetime | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                componentsschemas_date_time_type_0 = datetime.datetime.fromisoformat(data)

                return componentsschemas_date_time_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | str | Unset, data)

        started_date_time = _parse_started_date_time(d.pop("startedDateTime", UNSET))

        def _parse_ended_date_time(data: object) -> datetime.datetime | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                componentsschemas_date_time_type_0 = datetime.datetime.fromisoformat(data)

                return componentsschemas_date_time_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | str | Unset, data)

        ended_date_time = _parse_ended_date_time(d.pop("endedDateTime", UNSET))

        def _parse_estimated_units(data: object) -> float | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(float | None | Unset, data)

        estimated_units = _parse_estimated_units(d.pop("estimatedUnits", UNSET))

        def _parse_errors(data: object) -> list[JobIssue] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                errors_type_0 = []
                _errors_type_0 = data
                for errors_type_0_item_data in _errors_type_0:
                    errors_type_0_item = JobIssue.from_dict(errors_type_0_item_data)

                    errors_type_0.append(errors_type_0_item)

                return errors_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[JobIssue] | None | Unset, data)

        errors = _parse_errors(d.pop("errors", UNSET))

        def _parse_warnings(data: object) -> list[JobIssue] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                warnings_type_0 = []
                _warnings_type_0 = data
                for warnings_type_0_item_data in _warnings_type_0:
                    warnings_type_0_item = JobIssue.from_dict(warnings_type_0_item_data)

                    warnings_type_0.append(warnings_type_0_item)

                return warnings_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[JobIssue] | None | Unset, data)

        warnings = _parse_warnings(d.pop("warnings", UNSET))

        execution_information = cls(
            submitted_date_time=submitted_date_time,
            started_date_time=started_date_time,
            ended_date_time=ended_date_time,
            estimated_units=estimated_units,
            errors=errors,
            warnings=warnings,
        )

        execution_information.additional_properties = d
        return execution_information

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
