from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.job_state import JobState
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.execution_information import ExecutionInformation


T = TypeVar("T", bound="Job")


@_attrs_define
class Job:
    """What a job is, and how it ended.

    Attributes:
        id (None | str | Unset): The job id
        name (None | str | Unset): The name its owner gave it.
        type_ (None | str | Unset): What the job does.
        state (JobState | None | str | Unset): Job current state; the last three say how it ended.
        created_date_time (datetime.datetime | None | str | Unset): When the job was created.
        last_modified_date_time (datetime.datetime | None | str | Unset): When the job was last changed.
        i_twin_id (None | str | Unset): The iTwin the job belongs to.
        execution_information (ExecutionInformation | None | Unset): Absent before the job was submitted.
    """

    id: None | str | Unset = UNSET
    name: None | str | Unset = UNSET
    type_: None | str | Unset = UNSET
    state: JobState | None | str | Unset = UNSET
    created_date_time: datetime.datetime | None | str | Unset = UNSET
    last_modified_date_time: datetime.datetime | None | str | Unset = UNSET
    i_twin_id: None | str | Unset = UNSET
    execution_information: ExecutionInformation | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.execution_information import ExecutionInformation  # noqa: PLC0415

        id: None | str | Unset
        if isinstance(self.id, Unset):
            id = UNSET
        else:
            id = self.id

        name: None | str | Unset
        if isinstance(self.name, Unset):
            name = UNSET
        else:
            name = self.name

        type_: None | str | Unset
        if isinstance(self.type_, Unset):
            type_ = UNSET
        else:
            type_ = self.type_

        state: None | str | Unset
        if isinstance(self.state, Unset):
            state = UNSET
        elif isinstance(self.state, JobState):
            state = self.state.value
        else:
            state = self.state

        created_date_time: None | str | Unset
        if isinstance(self.created_date_time, Unset):
            created_date_time = UNSET
        elif isinstance(self.created_date_time, datetime.datetime):
            created_date_time = self.created_date_time.isoformat()
        else:
            created_date_time = self.created_date_time

        last_modified_date_time: None | str | Unset
        if isinstance(self.last_modified_date_time, Unset):
            last_modified_date_time = UNSET
        elif isinstance(self.last_modified_date_time, datetime.datetime):
            last_modified_date_time = self.last_modified_date_time.isoformat()
        else:
            last_modified_date_time = self.last_modified_date_time

        i_twin_id: None | str | Unset
        if isinstance(self.i_twin_id, Unset):
            i_twin_id = UNSET
        else:
            i_twin_id = self.i_twin_id

        execution_information: dict[str, Any] | None | Unset
        if isinstance(self.execution_information, Unset):
            execution_information = UNSET
        elif isinstance(self.execution_information, ExecutionInformation):
            execution_information = self.execution_information.to_dict()
        else:
            execution_information = self.execution_information

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if id is not UNSET:
            field_dict["id"] = id
        if name is not UNSET:
            field_dict["name"] = name
        if type_ is not UNSET:
            field_dict["type"] = type_
        if state is not UNSET:
            field_dict["state"] = state
        if created_date_time is not UNSET:
            field_dict["createdDateTime"] = created_date_time
        if last_modified_date_time is not UNSET:
            field_dict["lastModifiedDateTime"] = last_modified_date_time
        if i_twin_id is not UNSET:
            field_dict["iTwinId"] = i_twin_id
        if execution_information is not UNSET:
            field_dict["executionInformation"] = execution_information

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.execution_information import ExecutionInformation  # noqa: PLC0415

        d = {**src_dict}

        def _parse_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        id = _parse_id(d.pop("id", UNSET))

        def _parse_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        name = _parse_name(d.pop("name", UNSET))

        def _parse_type_(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        type_ = _parse_type_(d.pop("type", UNSET))

        def _parse_state(data: object) -> JobState | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                state_type_0 = JobState(data)

                return state_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(JobState | None | str | Unset, data)

        state = _parse_state(d.pop("state", UNSET))

        def _parse_created_date_time(data: object) -> datetime.datetime | None | str | Unset:
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

        created_date_time = _parse_created_date_time(d.pop("createdDateTime", UNSET))

        def _parse_last_modified_date_time(data: object) -> datetime.datetime | None | str | Unset:
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

        last_modified_date_time = _parse_last_modified_date_time(
            d.pop("lastModifiedDateTime", UNSET)
        )

        def _parse_i_twin_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        i_twin_id = _parse_i_twin_id(d.pop("iTwinId", UNSET))

        def _parse_execution_information(data: object) -> ExecutionInformation | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                execution_information_type_0 = ExecutionInformation.from_dict(data)

                return execution_information_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ExecutionInformation | None | Unset, data)

        execution_information = _parse_execution_information(d.pop("executionInformation", UNSET))

        job = cls(
            id=id,
            name=name,
            type_=type_,
            state=state,
            created_date_time=created_date_time,
            last_modified_date_time=last_modified_date_time,
            i_twin_id=i_twin_id,
            execution_information=execution_information,
        )

        job.additional_properties = d
        return job

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
