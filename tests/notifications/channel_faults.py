"""What may go wrong with a notification channel, and what may be told on it that means nothing."""

BROKEN = {
    "drop": (
        "the connection is closed or reset as soon as it is opened",
        r"closed the connection|the connection to .* broke",
    ),
    "not HTTP": ("the server doesn't speak HTTP", "doesn't speak WebSocket"),
    "404": ("the address is unknown (404)", r"refused the WebSocket \(404\)"),
    "401": ("the request is refused (401)", r"refused the WebSocket \(401\)"),
    "500": ("the server fails (500)", r"refused the WebSocket \(500\)"),
    "200": ("the server responds without upgrading (200)", r"refused the WebSocket \(200\)"),
    "503 300": (
        "the server asks for a pause (503 with `Retry-After`), which doesn't delay polls",
        r"refused the WebSocket \(503\)",
    ),
    "no subprotocol": (
        "the WebSocket opens without the subprotocol",
        "doesn't speak the subprotocol notify.catenis.io",
    ),
    "close 1002": ("the signature is refused (closed with 1002)", r"closed the WebSocket \(1002\)"),
    "binary": (
        "the server sends its confirmation as a binary message, and closes the WebSocket",
        r"closed the WebSocket \(1000\)",
    ),
    "bad frame": (
        "the server sends a frame that isn't valid",
        r"sent a frame that isn't valid \(1002\)",
    ),
    "bad text": (
        "the server sends text that isn't UTF-8",
        r"sent a frame that isn't valid \(1007\)",
    ),
    "endless": ("the server sends an endless message", "sent a message that is too long"),
    "endless nothing": (
        "the server sends endless empty fragments of a message",
        "sent a message that is too long",
    ),
}
"""By script of the server: what happens, and what the warning says, as a regular expression."""

LIES = {
    "an event about another message": ['{"ephemeralMessageId": "pSomebodyElses000001"}'],
    "text that isn't a JSON object": [
        "<html>",
        "{",
        "[]",
        "null",
        '"text"',
        "\x00",
    ],
    "an ID that isn't a string": ['{"ephemeralMessageId": 7}', '{"ephemeralMessageId": null}'],
    "two IDs in one event": ['{"ephemeralMessageId": "a", "ephemeralMessageId": "b"}'],
    "JSON that is nested too deeply": ["[" * 20_000],
    "a second confirmation": ["NOTIFICATION_CHANNEL_OPEN"],
}
"""By what it is: the messages."""
