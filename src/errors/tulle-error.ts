import type { ErrorCode } from './codes.ts';

/** What an error carries beside its message. */
export interface TulleErrorDetails {
  /** What the reader can do about it, as a sentence. */
  readonly fix?: string;
  /** What was thrown below; kept for the log, never shown to a caller over the network. */
  readonly cause?: unknown;
}

/**
 * An error this project raises on purpose: a registered code, what was tried and on what (the message), and how to fix it.
 *
 * Neither message nor fix may hold a token, a key or a Secret's content: both reach logs and remote callers.
 */
export class TulleError extends Error {
  override readonly name = 'TulleError';
  readonly code: ErrorCode;
  readonly fix: string | undefined;

  /**
   * @param code from the registry in `codes.ts`
   * @param message what was tried, on what, and what went wrong
   */
  constructor(code: ErrorCode, message: string, details: TulleErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.fix = details.fix;
  }
}

/** Whether `error` is ours, with `code` when one is given. */
export function isTulleError(error: unknown, code?: ErrorCode): error is TulleError {
  return error instanceof TulleError && (code === undefined || error.code === code);
}

/**
 * What went wrong in one line, for a reader of logs, conditions and terminals: message, then fix, of anything thrown.
 */
export function explain(error: unknown): string {
  if (isTulleError(error)) return error.fix === undefined ? error.message : `${error.message} ${error.fix}`;
  return error instanceof Error ? error.message : String(error);
}
