import { counter } from '../telemetry/metrics.ts';

export const refusedConnections = counter(
  'grpc_connections_refused_total',
  'Connections closed because their address, or all together, had as many as they may.',
);
