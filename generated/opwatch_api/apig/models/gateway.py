from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.gateway_status import GatewayStatus
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.ip_details import IpDetails


T = TypeVar("T", bound="Gateway")


@_attrs_define
class Gateway:
    """A dedicated gateway, of which only its state and its addresses are described.

    Attributes:
        id (None | str | Unset): Gateway ID.
        project_id (None | str | Unset): ID of the tenant to which the gateway belongs.
        instance_name (None | str | Unset): Gateway name.
        status (GatewayStatus | None | str | Unset): Instance status.
        error_code (None | str | Unset): Not listed there. A gateway that is Running beside it isn't believed to be
            usable.
        create_time (int | None | Unset): Time when the gateway is created. The time is in the Unix timestamp format.
        eip_address (None | str | Unset): Elastic IP address bound to the gateway.
        nat_eip_address (None | str | Unset): IP address for outbound access.
        ingress_ip (None | str | Unset): Address for access from the gateway's VPC.
        ingress_ip_v6 (None | str | Unset): IPv6 address for access from the gateway's VPC.
        publicips (list[IpDetails] | None | Unset): Public inbound addresses.
        privateips (list[IpDetails] | None | Unset): Private inbound addresses.
    """

    id: None | str | Unset = UNSET
    project_id: None | str | Unset = UNSET
    instance_name: None | str | Unset = UNSET
    status: GatewayStatus | None | str | Unset = UNSET
    error_code: None | str | Unset = UNSET
    create_time: int | None | Unset = UNSET
    eip_address: None | str | Unset = UNSET
    nat_eip_address: None | str | Unset = UNSET
    ingress_ip: None | str | Unset = UNSET
    ingress_ip_v6: None | str | Unset = UNSET
    publicips: list[IpDetails] | None | Unset = UNSET
    privateips: list[IpDetails] | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id: None | str | Unset
        if isinstance(self.id, Unset):
            id = UNSET
        else:
            id = self.id

        project_id: None | str | Unset
        if isinstance(self.project_id, Unset):
            project_id = UNSET
        else:
            project_id = self.project_id

        instance_name: None | str | Unset
        if isinstance(self.instance_name, Unset):
            instance_name = UNSET
        else:
            instance_name = self.instance_name

        status: None | str | Unset
        if isinstance(self.status, Unset):
            status = UNSET
        elif isinstance(self.status, GatewayStatus):
            status = self.status.value
        else:
            status = self.status

        error_code: None | str | Unset
        if isinstance(self.error_code, Unset):
            error_code = UNSET
        else:
            error_code = self.error_code

        create_time: int | None | Unset
        if isinstance(self.create_time, Unset):
            create_time = UNSET
        else:
            create_time = self.create_time

        eip_address: None | str | Unset
        if isinstance(self.eip_address, Unset):
            eip_address = UNSET
        else:
            eip_address = self.eip_address

        nat_eip_address: None | str | Unset
        if isinstance(self.nat_eip_address, Unset):
            nat_eip_address = UNSET
        else:
            nat_eip_address = self.nat_eip_address

        ingress_ip: None | str | Unset
        if isinstance(self.ingress_ip, Unset):
            ingress_ip = UNSET
        else:
            ingress_ip = self.ingress_ip

        ingress_ip_v6: None | str | Unset
        if isinstance(self.ingress_ip_v6, Unset):
            ingress_ip_v6 = UNSET
        else:
            ingress_ip_v6 = self.ingress_ip_v6

        publicips: list[dict[str, Any]] | None | Unset
        if isinstance(self.publicips, Unset):
            publicips = UNSET
        elif isinstance(self.publicips, list):
            publicips = []
            for publicips_type_0_item_data in self.publicips:
                publicips_type_0_item = publicips_type_0_item_data.to_dict()
                publicips.append(publicips_type_0_item)

        else:
            publicips = self.publicips

        privateips: list[dict[str, Any]] | None | Unset
        if isinstance(self.privateips, Unset):
            privateips = UNSET
        elif isinstance(self.privateips, list):
            privateips = []
            for privateips_type_0_item_data in self.privateips:
                privateips_type_0_item = privateips_type_0_item_data.to_dict()
                privateips.append(privateips_type_0_item)

        else:
            privateips = self.privateips

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update({})
        if id is not UNSET:
            field_dict["id"] = id
        if project_id is not UNSET:
            field_dict["project_id"] = project_id
        if instance_name is not UNSET:
            field_dict["instance_name"] = instance_name
        if status is not UNSET:
            field_dict["status"] = status
        if error_code is not UNSET:
            field_dict["error_code"] = error_code
        if create_time is not UNSET:
            field_dict["create_time"] = create_time
        if eip_address is not UNSET:
            field_dict["eip_address"] = eip_address
        if nat_eip_address is not UNSET:
            field_dict["nat_eip_address"] = nat_eip_address
        if ingress_ip is not UNSET:
            field_dict["ingress_ip"] = ingress_ip
        if ingress_ip_v6 is not UNSET:
            field_dict["ingress_ip_v6"] = ingress_ip_v6
        if publicips is not UNSET:
            field_dict["publicips"] = publicips
        if privateips is not UNSET:
            field_dict["privateips"] = privateips

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.ip_details import IpDetails  # noqa: PLC0415

        d = {**src_dict}

        def _parse_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        id = _parse_id(d.pop("id", UNSET))

        def _parse_project_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        project_id = _parse_project_id(d.pop("project_id", UNSET))

        def _parse_instance_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        instance_name = _parse_instance_name(d.pop("instance_name", UNSET))

        def _parse_status(data: object) -> GatewayStatus | None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                status_type_0 = GatewayStatus(data)

                return status_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(GatewayStatus | None | str | Unset, data)

        status = _parse_status(d.pop("status", UNSET))

        def _parse_error_code(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        error_code = _parse_error_code(d.pop("error_code", UNSET))

        def _parse_create_time(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        create_time = _parse_create_time(d.pop("create_time", UNSET))

        def _parse_eip_address(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        eip_address = _parse_eip_address(d.pop("eip_address", UNSET))

        def _parse_nat_eip_address(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        nat_eip_address = _parse_nat_eip_address(d.pop("nat_eip_address", UNSET))

        def _parse_ingress_ip(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        ingress_ip = _parse_ingress_ip(d.pop("ingress_ip", UNSET))

        def _parse_ingress_ip_v6(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        ingress_ip_v6 = _parse_ingress_ip_v6(d.pop("ingress_ip_v6", UNSET))

        def _parse_publicips(data: object) -> list[IpDetails] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                publicips_type_0 = []
                _publicips_type_0 = data
                for publicips_type_0_item_data in _publicips_type_0:
                    publicips_type_0_item = IpDetails.from_dict(publicips_type_0_item_data)

                    publicips_type_0.append(publicips_type_0_item)

                return publicips_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[IpDetails] | None | Unset, data)

        publicips = _parse_publicips(d.pop("publicips", UNSET))

        def _parse_privateips(data: object) -> list[IpDetails] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                privateips_type_0 = []
                _privateips_type_0 = data
                for privateips_type_0_item_data in _privateips_type_0:
                    privateips_type_0_item = IpDetails.from_dict(privateips_type_0_item_data)

                    privateips_type_0.append(privateips_type_0_item)

                return privateips_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[IpDetails] | None | Unset, data)

        privateips = _parse_privateips(d.pop("privateips", UNSET))

        gateway = cls(
            id=id,
            project_id=project_id,
            instance_name=instance_name,
            status=status,
            error_code=error_code,
            create_time=create_time,
            eip_address=eip_address,
            nat_eip_address=nat_eip_address,
            ingress_ip=ingress_ip,
            ingress_ip_v6=ingress_ip_v6,
            publicips=publicips,
            privateips=privateips,
        )

        gateway.additional_properties = d
        return gateway

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
