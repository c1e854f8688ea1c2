"""The table of status codes: the status and the stable code of every error that is raised on purpose."""

from typing import Final

from headrace.adapters.blob_store import BlobGoneError, BlobTooLargeError
from headrace.adapters.fair_turns import TooManyAtOnceError
from headrace.adapters.store_errors import StoreError, StoreFullError, StoreReadOnlyError
from headrace.api.errors import (
    BodyTooLargeError,
    MalformedError,
    OriginRefusedError,
    QueryTooLargeError,
    RangeError,
    ReferenceGoneError,
    UnsupportedMediaTypeError,
)
from headrace.api.middleware.query_names import UnknownParametersError
from headrace.api.middleware.rate_limits import RateLimitedError, TooManyHeadersError, TooManyStreamsError
from headrace.domain.accounts.caller import ForbiddenError
from headrace.domain.accounts.errors import (
    KeyNotFoundError,
    OwnAccountError,
    TooManyKeysError,
    UserNotFoundError,
)
from headrace.domain.accounts.sign_in_errors import (
    CodeRefusedError,
    IdTokenRefusedError,
    LoginCancelledError,
    LoginExpiredError,
    NoSessionsError,
    NotConnectedError,
    ProviderAwayError,
    ProviderNotFoundError,
    StateMismatchError,
    ToneNotFoundError,
)
from headrace.domain.cursors import CursorInvalidError
from headrace.domain.database import (
    DatabaseAwayError,
    DatabaseBusyError,
    DatabaseFullError,
    DatabaseMisconfiguredError,
    DatabaseReadOnlyError,
    DatabaseRefusingError,
    DatabaseTimeoutError,
    OutOfConnectionsError,
    PoolFullError,
    TimeLimitError,
)
from headrace.domain.errors import HeadraceError
from headrace.domain.files.names import FileNameError
from headrace.domain.files.service import FileNotFoundInStoreError
from headrace.domain.jobs.errors import (
    CursorBeyondHeadError,
    IdempotencyConflictError,
    JobDeletedError,
    JobNotFinalError,
    JobNotFoundError,
    PresetBusyError,
    PresetNotFoundError,
    SearchTimeLimitError,
)
from headrace.domain.jobs.states import IllegalTransitionError
from headrace.domain.jobs.submission.submitter import PipelineBusyError
from headrace.domain.json_costs import JsonTooCostlyError
from headrace.domain.json_limits import NestedTooDeepError, NulCharacterError, ValueTooLargeError
from headrace.domain.paging import OffsetTooLargeError
from headrace.domain.pipelines.service import (
    ParamsInvalidError,
    PipelineInUseError,
    PipelineNotFoundError,
    PipelineUnknownError,
)
from headrace.domain.presets.errors import PresetInUseError, PresetTitleTakenError, TooManyPresetsError
from headrace.domain.quotas.quotas import QuotaExceededError, StorageQuotaExceededError
from headrace.domain.tags.errors import TooManyTagsError
from headrace.domain.tags.service import TagNotFoundError, TagTakenError

CODES: Final[dict[type[HeadraceError], tuple[int, str]]] = {
    StateMismatchError: (400, "state_mismatch"),
    LoginExpiredError: (400, "login_expired"),
    CodeRefusedError: (400, "code_refused"),
    IdTokenRefusedError: (400, "id_token_refused"),
    LoginCancelledError: (403, "login_cancelled"),
    NoSessionsError: (404, "not_found"),
    ProviderNotFoundError: (404, "provider_not_found"),
    ToneNotFoundError: (404, "tone_not_found"),
    NotConnectedError: (409, "not_connected"),
    ProviderAwayError: (503, "provider_unavailable"),
    ForbiddenError: (403, "forbidden"),
    OriginRefusedError: (403, "origin_refused"),
    UserNotFoundError: (404, "user_not_found"),
    KeyNotFoundError: (404, "api_key_not_found"),
    OwnAccountError: (409, "own_account"),
    TooManyKeysError: (409, "too_many_keys"),
    TooManyPresetsError: (409, "too_many_presets"),
    TooManyTagsError: (409, "too_many_tags"),
    JobNotFoundError: (404, "job_not_found"),
    PipelineNotFoundError: (404, "pipeline_not_found"),
    FileNotFoundInStoreError: (404, "file_not_found"),
    ReferenceGoneError: (409, "reference_gone"),
    PresetNotFoundError: (404, "preset_not_found"),
    TagNotFoundError: (404, "tag_not_found"),
    IllegalTransitionError: (409, "illegal_transition"),
    JobNotFinalError: (409, "job_not_final"),
    PipelineInUseError: (409, "pipeline_in_use"),
    PresetInUseError: (409, "preset_in_use"),
    PresetTitleTakenError: (409, "title_taken"),
    TagTakenError: (409, "tag_taken"),
    IdempotencyConflictError: (409, "idempotency_conflict"),
    JobDeletedError: (410, "job_deleted"),
    StorageQuotaExceededError: (413, "quota_exceeded"),
    BlobTooLargeError: (413, "file_too_large"),
    BodyTooLargeError: (413, "body_too_large"),
    QueryTooLargeError: (414, "query_too_large"),
    FileNameError: (422, "file_name_invalid"),
    CursorBeyondHeadError: (422, "cursor_beyond_head"),
    CursorInvalidError: (422, "cursor_invalid"),
    OffsetTooLargeError: (422, "offset_too_large"),
    ParamsInvalidError: (422, "params_invalid"),
    ValueTooLargeError: (422, "value_too_large"),
    NestedTooDeepError: (422, "nested_too_deep"),
    NulCharacterError: (422, "nul_character"),
    JsonTooCostlyError: (422, "json_too_costly"),
    PipelineUnknownError: (422, "pipeline_unknown"),
    UnknownParametersError: (422, "validation_failed"),
    UnsupportedMediaTypeError: (415, "unsupported_media_type"),
    RangeError: (416, "range_not_satisfiable"),
    MalformedError: (400, "malformed"),
    QuotaExceededError: (429, "quota_exceeded"),
    RateLimitedError: (429, "rate_limited"),
    TooManyStreamsError: (429, "too_many_streams"),
    TooManyAtOnceError: (429, "too_many_at_once"),
    TooManyHeadersError: (431, "too_many_headers"),
    BlobGoneError: (503, "file_gone"),
    DatabaseAwayError: (503, "database_unavailable"),
    OutOfConnectionsError: (503, "database_out_of_connections"),
    PoolFullError: (503, "database_busy"),
    DatabaseTimeoutError: (503, "database_busy"),
    DatabaseBusyError: (503, "database_busy"),
    TimeLimitError: (503, "time_limit"),
    SearchTimeLimitError: (503, "search_time_limit"),
    DatabaseRefusingError: (503, "database_unavailable"),
    DatabaseMisconfiguredError: (503, "database_refusing"),
    DatabaseReadOnlyError: (503, "database_read_only"),
    DatabaseFullError: (503, "database_full"),
    StoreError: (503, "storage_unavailable"),
    StoreReadOnlyError: (503, "storage_unavailable"),
    StoreFullError: (507, "storage_full"),
    PipelineBusyError: (503, "pipeline_busy"),
    PresetBusyError: (503, "preset_busy"),
}
