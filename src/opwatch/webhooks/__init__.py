"""Webhooks: a service's own POST that something happened, checked. One module for each service.

>>> from opwatch.webhooks import itwin
>>> client.nudge(itwin.verify(body, headers, secret).job_id)  # doctest: +SKIP
"""
