import type { ContextKey, HandlerContext } from '@connectrpc/connect';
import type { UniversalHandlerOptions } from '@connectrpc/connect/protocol';
import { connectionKey } from './connection.ts';
import { toStatus } from './status.ts';

/** What is known of a call before any of its messages. */
export interface Call {
  /** Of the header; undefined where there is none. Several are one text with commas, which is no token. */
  readonly authorization: string | undefined;
  /** Where it came from; `peer` is with the port, for logs. */
  readonly address: string;
  readonly peer: string;
}

export interface Guard<T> {
  /** Lets the caller in, or throws: a TulleError is told to it. */
  readonly admit: (call: Call) => Promise<T>;
  /** Where the handler finds who was let in. */
  readonly key: ContextKey<T | undefined>;
  /** Called with what a caller was refused for. */
  readonly onRefused?: (error: unknown, call: Call) => void;
  readonly maxMessageBytes: number;
}

/**
 * How a service is called: whoever is not let in is answered before a byte of a message is read. Messages are not compressed,
 * since 8 kB of gzip can be 8 MiB of message, and what this version does not know in them is not kept.
 */
export function guarded<T>({ admit, key, onRefused, maxMessageBytes }: Guard<T>): Partial<UniversalHandlerOptions> {
  return {
    readMaxBytes: maxMessageBytes,
    acceptCompression: [],
    binaryOptions: { readUnknownFields: false },
    requestGate: async (context) => {
      const call = callOf(context);
      try {
        context.values.set(key, await admit(call));
        context.values.get(connectionKey)?.known();
      } catch (error) {
        onRefused?.(error, call);
        throw toStatus(error);
      }
    },
  };
}

/** Of a call's context, in a gate or a handler. */
export function callOf({ requestHeader, values }: Pick<HandlerContext, 'requestHeader' | 'values'>): Call {
  const { address, peer } = values.get(connectionKey) ?? { address: 'unknown', peer: 'unknown' };
  return { authorization: requestHeader.get('authorization') ?? undefined, address, peer };
}
