import { createServer } from 'node:http';
import { answerMetrics, type MetricsPage, MetricsPort, requestLimits } from './metrics-port.ts';

/**
 * `/metrics` without TLS and without a token: who reaches the port reads them. Only behind a NetworkPolicy that says who does
 * (render/network-policies.ts).
 */
export function plainMetricsServer(port: number, page: MetricsPage = {}): MetricsPort {
  return new MetricsPort(
    createServer(
      requestLimits,
      answerMetrics(page, async () => undefined),
    ),
    port,
  );
}
