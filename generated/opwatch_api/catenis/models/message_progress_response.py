from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.message_progress_data import MessageProgressData


T = TypeVar("T", bound="MessageProgressResponse")


@_attrs_define
class MessageProgressResponse:
    """A JSON containing the following properties.

    Attributes:
        status (str): The value `success`, indicating that the request was successful.
        data (MessageProgressData): The actual data returned in response to the API request.
    """

    status: str
    data: MessageProgressData
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        status = self.status

        data = self.data.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "status": status,
                "data": data,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.message_progress_data import MessageProgressData  # noqa: PLC0415

        d = {**src_dict}
        status = d.pop("status")

        data = MessageProgressData.from_dict(d.pop("data"))

        message_progress_response = cls(
            status=status,
            data=data,
        )

        message_progress_response.additional_properties = d
        return message_progress_response

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
