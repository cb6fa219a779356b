from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.message_action import MessageAction
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.message_progress import MessageProgress
    from ..models.processing_result import ProcessingResult


T = TypeVar("T", bound="FinalMessageProgressEvent")


@_attrs_define
class FinalMessageProgressEvent:
    """The data of a progress response, and the message it is about.

    Attributes:
        ephemeral_message_id (str): ID of the ephemeral message, as given to Retrieve Message Progress.
        action (MessageAction | str): The action that was to be performed on the message. One of: `log`, `send`, or
            `read`.
        progress (MessageProgress): Current processing status.
        result (None | ProcessingResult | Unset): (only returned if processing finished successfully) Result of
            processing.
    """

    ephemeral_message_id: str
    action: MessageAction | str
    progress: MessageProgress
    result: None | ProcessingResult | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.processing_result import ProcessingResult  # noqa: PLC0415

        ephemeral_message_id = self.ephemeral_message_id

        action: str
        if isinstance(self.action, MessageAction):
            action = self.action.value
        else:
            action = self.action

        progress = self.progress.to_dict()

        result: dict[str, Any] | None | Unset
        if isinstance(self.result, Unset):
            result = UNSET
        elif isinstance(self.result, ProcessingResult):
            result = self.result.to_dict()
        else:
            result = self.result

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "ephemeralMessageId": ephemeral_message_id,
                "action": action,
                "progress": progress,
            }
        )
        if result is not UNSET:
            field_dict["result"] = result

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.message_progress import MessageProgress  # noqa: PLC0415
        from ..models.processing_result import ProcessingResult  # noqa: PLC0415

        d = {**src_dict}
        ephemeral_message_id = d.pop("ephemeralMessageId")

        def _parse_action(data: object) -> MessageAction | str:
            try:
                if not isinstance(data, str):
                    raise TypeError()
                action_type_0 = MessageAction(data)

                return action_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(MessageAction | str, data)

        action = _parse_action(d.pop("action"))

        progress = MessageProgress.from_dict(d.pop("progress"))

        def _parse_result(data: object) -> None | ProcessingResult | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                result_type_0 = ProcessingResult.from_dict(data)

                return result_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ProcessingResult | Unset, data)

        result = _parse_result(d.pop("result", UNSET))

        final_message_progress_event = cls(
            ephemeral_message_id=ephemeral_message_id,
            action=action,
            progress=progress,
            result=result,
        )

        final_message_progress_event.additional_properties = d
        return final_message_progress_event

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
