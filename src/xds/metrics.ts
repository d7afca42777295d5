import { counter, gauge, histogram } from '../telemetry/metrics.ts';

export const streams = gauge('xds_streams', 'Open discovery streams.');
export const pushes = counter('xds_pushes_total', 'Responses written to discovery streams.', ['type']);
export const pushedBytes = counter('xds_pushed_bytes_total', 'Bytes of those responses.', ['type']);
export const nacks = counter('xds_nacks_total', 'Responses a client refused.', ['type']);
export const refusedStreams = counter('xds_streams_refused_total', 'Streams that were not let in, by gRPC status.', [
  'status',
]);
export const pushSeconds = histogram(
  'xds_push_seconds',
  'Seconds from a change to its acknowledgement by a client.',
  [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
  ['type'],
);
export const unreadBytes = gauge('xds_unread_bytes', 'Bytes of responses on their way to clients.');
export const resources = gauge('xds_resources', 'Resources proxies can be told of.', ['type']);
