import {
  type DescMessage,
  type DescMethodBiDiStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import { isTulleError, TulleError } from '../errors/tulle-error.ts';
import type { Shares } from '../limits/shares.ts';
import type { Call, IncomingCall } from './call.ts';
import { StatusError, toStatus } from './status.ts';

/** Who may call a method, and how much of it at once. */
export interface Guard<T> {
  /** Lets the caller in, or throws: a TulleError is told to it. */
  readonly admit: (call: IncomingCall) => Promise<T>;
  /** Of what an open call of this caller is a share, and who holds it. */
  readonly share: (admitted: T) => { readonly of: Shares; readonly holder: string };
  /** Called with what a caller was refused for. */
  readonly onRefused?: (error: unknown, call: IncomingCall) => void;
  readonly maxMessageBytes: number;
}

/** A method as a server serves it: answers each call, and never rejects. */
export interface Method {
  /** Of its URL. */
  readonly path: string;
  readonly serve: (call: Call) => Promise<void>;
}

/** Within which the one message of a call must have been read, ms. */
const messageMs = 10_000;

/** One message, one answer. The handler throws what its caller is told, see `toStatus`. */
export function unary<I extends DescMessage, O extends DescMessage, T>(
  method: DescMethodUnary<I, O>,
  guard: Guard<T>,
  handler: (request: MessageShape<I>, admitted: T, call: Call) => Promise<MessageShape<O>>,
  { readWithinMs = messageMs }: { readonly readWithinMs?: number } = {},
): Method {
  return guarded(method, guard, async (call, admitted) => {
    const late = () => new StatusError('DEADLINE_EXCEEDED', `the message did not come within ${readWithinMs} ms`);
    const callOff = call.failAfter(readWithinMs, late);
    const requests: MessageShape<I>[] = [];
    await call.receive(guard.maxMessageBytes, (bytes) => {
      if (requests.length > 0) throw new StatusError('INVALID_ARGUMENT', 'the call has more than one message');
      requests.push(parse(method.input, bytes));
    });
    callOff();
    const [request] = requests;
    if (request === undefined) throw new StatusError('INVALID_ARGUMENT', 'the call has no message');
    await call.write([toBinary(method.output, await handler(request, admitted, call))]);
  });
}

/** Gives `take` the messages of a caller until it has said its last; throws as `Call.receive`. */
export type Receive<I extends DescMessage> = (take: (request: MessageShape<I>) => void) => Promise<void>;

/** Messages each way: the handler reads and writes, and the call ends when it returns or throws. */
export function streaming<I extends DescMessage, O extends DescMessage, T>(
  method: DescMethodBiDiStreaming<I, O>,
  guard: Guard<T>,
  handler: (receive: Receive<I>, admitted: T, call: Call) => Promise<void>,
): Method {
  return guarded(method, guard, (call, admitted) => {
    const receive: Receive<I> = (take) =>
      call.receive(guard.maxMessageBytes, (bytes) => take(parse(method.input, bytes)));
    return handler(receive, admitted, call);
  });
}

/** Whoever is not let in is answered before a byte of a message is read, and a share is held until the call is over. */
function guarded<T>(
  { parent, name }: DescMethodUnary | DescMethodBiDiStreaming,
  guard: Guard<T>,
  serve: (call: Call, admitted: T) => Promise<void>,
): Method {
  return {
    path: `/${parent.typeName}/${name}`,
    async serve(call) {
      try {
        const admitted = await admit(call, guard);
        if (!call.isFinished) await serve(call, admitted);
        call.finish();
      } catch (error) {
        call.finish(toStatus(error));
      }
    },
  };
}

async function admit<T>(call: Call, guard: Guard<T>): Promise<T> {
  const { connection, signal } = call;
  const admitted = await connection.admit(async () => {
    try {
      const caller = await guard.admit(call);
      connection.markAuthenticated();
      return caller;
    } catch (error) {
      throw refuse(error, call, guard);
    }
  });
  const { of, holder } = guard.share(admitted);
  const release = of.take(holder);
  if (release === undefined) throw refuse(tooMany(holder), call, guard);
  if (signal.aborted) release();
  else signal.addEventListener('abort', release, { once: true });
  return admitted;
}

const countedRefusals: readonly string[] = ['UNAUTHENTICATED', 'PERMISSION_DENIED'];

/** Refusals count that the caller can help. */
function refuse<T>(error: unknown, call: Call, guard: Guard<T>): StatusError {
  guard.onRefused?.(error, call);
  const status = toStatus(error);
  const isCounted = countedRefusals.includes(status.code) || isTulleError(error, 'CallsTooMany');
  if (isCounted) call.connection.noteRefusal();
  return status;
}

function tooMany(holder: string): TulleError {
  return new TulleError('CallsTooMany', `${holder}, or all callers of its kind, have as many calls open as they may.`, {
    fix: 'Try again later, with jitter.',
  });
}

/** What this version does not know in a message is not kept. */
function parse<I extends DescMessage>(input: I, bytes: Uint8Array): MessageShape<I> {
  try {
    return fromBinary(input, bytes, { readUnknownFields: false });
  } catch {
    throw new StatusError('INVALID_ARGUMENT', `the message is not a ${input.typeName}`);
  }
}
