from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

T = TypeVar("T", bound="IpDetails")


@_attrs_define
class IpDetails:
    """An address of a gateway.

    Attributes:
        ip_address (None | str | Unset): IP address.
        bandwidth_size (int | None | Unset): Bandwidth of the IP address.
    """

    ip_address: None | str | Unset = UNSET
    bandwidth_size: int | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        ip_address: None | str | Unset
        if isinstance(self.ip_address, Unset):
            ip_address = UNSET
        else:
            ip_address = self.ip_address

        bandwidth_size: int | None | Unset
        if isinstance(self.bandwidth_size, Unset):
            bandwidth_size = UNSET
        else:
            bandwidth_size = self.bandwidth_size

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if ip_address is not UNSET:
            field_dict["ip_address"] = ip_address
        if bandwidth_size is not UNSET:
            field_dict["bandwidth_size"] = bandwidth_size

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = {**src_dict}

        def _parse_ip_address(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        ip_address = _parse_ip_address(d.pop("ip_address", UNSET))

        def _parse_bandwidth_size(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        bandwidth_size = _parse_bandwidth_size(d.pop("bandwidth_size", UNSET))

        ip_details = cls(
            ip_address=ip_address,
            bandwidth_size=bandwidth_size,
        )

        ip_details.additional_properties = d
        return ip_details

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
