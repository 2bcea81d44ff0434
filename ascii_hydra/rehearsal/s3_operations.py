"""Which operation of S3 an HTTP request is, for fault rules and the list of calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# By what the query string has: of an object, and of a bucket.
_OBJECT_QUERIES = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
}
_BUCKET_QUERIES = {
    ("POST", "delete"): "DeleteObjects",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "list-type"): "ListObjectsV2",
    ("GET", "versions"): "ListObjectVersions",
}
_OBJECTS = {"GET": "GetObject", "PUT": "PutObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_BUCKETS = {"GET": "ListObjects", "PUT": "CreateBucket", "HEAD": "HeadBucket"}
_BUCKETS |= {"DELETE": "DeleteBucket"}


def s3_operation(method: str, path: str, query: Collection[str], headers: Mapping[str, str]) -> str:
    """`s3:PutObject`, of a request with the bucket in its path.

    Args:
        method: of HTTP.
        path: as `/bucket/key`.
        query: names in the query string.
        headers: as WSGI names them: HTTP_X_AMZ_COPY_SOURCE.
    """
    bucket, _, key = path.lstrip("/").partition("/")
    if not bucket:
        return "s3:ListBuckets"
    for (verb, name), operation in (_OBJECT_QUERIES if key else _BUCKET_QUERIES).items():
        if method == verb and name in query:
            return f"s3:{operation}"
    if key and method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in headers:
        return "s3:CopyObject"
    return f"s3:{(_OBJECTS if key else _BUCKETS).get(method, method)}"
