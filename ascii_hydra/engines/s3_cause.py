"""Why S3 did not give or take what a step wanted, from what Java or boto3 said. Pure."""

from __future__ import annotations

import re

from ascii_hydra.aws.client import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Place

_GIVE_CREDENTIALS = (
    f"set {ACCESS_KEY_ID} and {SECRET_ACCESS_KEY}, or configure AWS as usual (AWS_PROFILE,"
    " aws sso login, a role)"
)
_NO_BUCKET = re.compile(r"UnknownStoreException|NoSuchBucket")
_NO_CREDENTIALS = re.compile(
    r"NoAuthWithAWSException|NoCredentialsError|Unable to locate credentials"
    r"|Unable to load credentials from any of the providers"
)
_BAD_CREDENTIALS = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|InvalidClientTokenId"
    r"|TokenRefreshRequired|RequestTimeTooSkewed"
)
_DENIED = re.compile(
    r"java\.nio\.file\.AccessDeniedException|S3Exception.*Status Code: 403|\(AccessDenied\)"
)
_ELSEWHERE = re.compile(
    r"AWSRedirectException|PermanentRedirect|AuthorizationHeaderMalformed|IllegalLocationConstraint"
)
_UNREACHED = re.compile(
    r"(?:java\.net\.(?:ConnectException|UnknownHostException|NoRouteToHostException"
    r"|SocketTimeoutException)|ConnectTimeoutException|EndpointConnectionError"
    r"|AWSClientIOException|SdkClientException: Unable to execute HTTP request)"
)
_OF_S3 = re.compile(r"s3a?://|fs\.s3a|awssdk|botocore|when calling the \w+ operation")
# Hadoop's words end a URI with a colon or a quotation mark.
_URI = re.compile(r"s3a?://(?P<bucket>[^/\s:`'\"]+)(?P<key>[^\s:`'\",]*)")


def s3_cause(text: str, place: Place) -> str | None:  # noqa: PLR0911 - one for each cause
    """What S3 refused and what to do, as a sentence without its subject (the step); None if the
    text tells of no such thing.

    Args:
        text: an exception with its message, or the last lines of a log.
        place: which AWS was meant.
    """
    if not _OF_S3.search(text):
        return None
    found = _URI.search(text)
    bucket = f"the bucket {found['bucket']}" if found else "its bucket"
    at = f" at {place.url}" if place.url else ""
    if _NO_CREDENTIALS.search(text):
        if "Lost task" in text:  # the driver had some, or there would be no task
            return (
                "has tasks that found no credentials for AWS: the workers of a Spark cluster need"
                " their own, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in their environment,"
                " or as a role."
            )
        return f"found no credentials for AWS: {_GIVE_CREDENTIALS}."
    if code := _BAD_CREDENTIALS.search(text):
        return f"has credentials that S3{at} does not accept ({code[0]}): {_GIVE_CREDENTIALS}."
    if _NO_BUCKET.search(text):
        return f"did not find {bucket}{at}: make it, or set mode.bucket to one that is there."
    if _ELSEWHERE.search(text):
        return (
            f"looked for {bucket} in the wrong region ({place.region}): set mode.region to the"
            " bucket's own."
        )
    if _DENIED.search(text):
        # S3 says no more than that where only the headers of a file were asked for.
        return (
            f"may not read or write {found[0] if found else bucket}{at} (access denied): its"
            " credentials must be valid, and allow s3:GetObject, s3:PutObject, s3:DeleteObject,"
            f" s3:AbortMultipartUpload and s3:ListBucket for {bucket}; or set mode.bucket to"
            " another one."
        )
    if _UNREACHED.search(text):
        where = f" at {place.url}" if place.url else f" in {place.region}"
        key = "endpoint.url" if place.url else "the network and mode.region"
        return f"could not reach S3{where} for {bucket}: check {key}."
    return None
