import type { Status } from '../objects.ts';

/** What the API server said no with. `status` is the HTTP code, `reason` the machine-readable word of its Status. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly reason: string;
  /** `METHOD /path`, without the query. */
  readonly path: string;
  /** When the server asks for patience, ms. */
  readonly retryAfterMs: number | undefined;
  /** Reasons of the details, for example `ResourceVersionTooLarge`. */
  readonly causes: readonly string[];

  constructor(init: {
    status: number;
    reason: string;
    message: string;
    path: string;
    retryAfterMs?: number | undefined;
    causes?: readonly string[];
  }) {
    super(`${init.path}: ${init.status} ${init.reason}: ${init.message}`);
    this.status = init.status;
    this.reason = init.reason;
    this.path = init.path;
    this.retryAfterMs = init.retryAfterMs;
    this.causes = init.causes ?? [];
  }

  /** From a meta/v1 Status: the body of a refused request, or the object of a watch's ERROR event. */
  static fromStatus(path: string, httpStatus: number, body: Status, retryAfterMs?: number): ApiError {
    const seconds = body.details?.retryAfterSeconds;
    return new ApiError({
      status: body.code ?? httpStatus,
      reason: body.reason ?? 'Unknown',
      message: body.message ?? 'no message',
      path,
      retryAfterMs: retryAfterMs ?? (seconds === undefined ? undefined : seconds * 1000),
      causes: (body.details?.causes ?? []).flatMap((cause) => (cause.reason === undefined ? [] : [cause.reason])),
    });
  }
}

export const isNotFound = (error: unknown): boolean => error instanceof ApiError && error.status === 404;

/** The caller has no right to this. */
export const isForbidden = (error: unknown): boolean => error instanceof ApiError && error.status === 403;

/** The object changed since it was read, or already exists. */
export const isConflict = (error: unknown): boolean => error instanceof ApiError && error.status === 409;

/** The object, as it would be after the request, is not one the API server accepts. */
export const isInvalid = (error: unknown): boolean => error instanceof ApiError && error.status === 422;

/** The resourceVersion or continue token is too old: only a new list helps. */
export const isExpired = (error: unknown): boolean =>
  error instanceof ApiError && (error.status === 410 || error.reason === 'Expired');
