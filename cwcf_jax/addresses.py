"""Where an S3 API is."""

import os


def s3_server() -> tuple[str, str]:
    """Endpoint and region by ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` or ``AWS_DEFAULT_REGION``; empty: not said.

    A server that is not Amazon's takes any region, so one that is named without is ``us-east-1``.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", "")
    return endpoint, region or ("us-east-1" if endpoint else "")
