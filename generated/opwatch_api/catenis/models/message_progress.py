from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.processing_error import ProcessingError


T = TypeVar("T", bound="MessageProgress")


@_attrs_define
class MessageProgress:
    """Current processing status.

    Attributes:
        bytes_processed (int): Total number of bytes of message that had already been processed.
        done (bool): Indicates whether processing has been finished.
        success (bool | None | Unset): (only returned if processing has already been finished) Indicates whether message
            has been successfully processed.
        error (None | ProcessingError | Unset): (only returned if processing finished with error) Error information.
        finish_date (datetime.datetime | None | str | Unset): (only returned if processing has already been finished)
            ISO 8601 formatted date and time when processing was finalized.
    """

    bytes_processed: int
    done: bool
    success: bool | None | Unset = UNSET
    error: None | ProcessingError | Unset = UNSET
    finish_date: datetime.datetime | None | str | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.processing_error import ProcessingError  # noqa: PLC0415

        bytes_processed = self.bytes_processed

        done = self.done

        success: bool | None | Unset
        if isinstance(self.success, Unset):
            success = UNSET
        else:
            success = self.success

        error: dict[str, Any] | None | Unset
        if isinstance(self.error, Unset):
            error = UNSET
        elif isinstance(self.error, ProcessingError):
            error = self.error.to_dict()
        else:
            error = self.error

        finish_date: None | str | Unset
        if isinstance(self.finish_date, Unset):
            finish_date = UNSET
        elif isinstance(self.finish_date, datetime.datetime):
            finish_date = self.finish_date.isoformat()
        else:
            finish_date = self.finish_date

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "bytesProcessed": bytes_processed,
                "done": done,
            }
        )
        if success is not UNSET:
            field_dict["success"] = success
        if error is not UNSET:
            field_dict["error"] = error
        if finish_date is not UNSET:
            field_dict["finishDate"] = finish_date

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.processing_error import ProcessingError  # noqa: PLC0415

        d = {**src_dict}
        bytes_processed = d.pop("bytesProcessed")

        done = d.pop("done")

        def _parse_success(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        success = _parse_success(d.pop("success", UNSET))

        def _parse_error(data: object) -> None | ProcessingError | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                error_type_0 = ProcessingError.from_dict(data)

                return error_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ProcessingError | Unset, data)

        error = _parse_error(d.pop("error", UNSET))

        def _parse_finish_date(data: object) -> datetime.datetime | None | str | Unset:
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

        finish_date = _parse_finish_date(d.pop("finishDate", UNSET))

        message_progress = cls(
            bytes_processed=bytes_processed,
            done=done,
            success=success,
            error=error,
            finish_date=finish_date,
        )

        message_progress.additional_properties = d
        return message_progress

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
