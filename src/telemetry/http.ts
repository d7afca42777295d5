import { createServer, type Server, type ServerResponse } from 'node:http';
import { registry as processRegistry, type Registry } from './metrics.ts';

/** One answer of a check: undefined when all is well, else what is wrong, in a sentence. */
export type Check = () => string | undefined;

export interface TelemetryOptions {
  port: number;
  host?: string;
  /** Named reasons to be restarted. */
  live?: Record<string, Check>;
  /** Named reasons to get no requests yet. */
  ready?: Record<string, Check>;
  registry?: Registry;
  /** Called before each scrape, to set gauges that are read from elsewhere. */
  beforeMetrics?: () => void;
  /** Whether a caller's address is one of this pod's own; loopback where nothing is said. */
  isLocal?: (address: string) => boolean;
}

export interface TelemetryServer {
  /** The port in use, also where 0 was asked for. */
  port: number;
  close(): Promise<void>;
}

/**
 * Serves `/healthz` and `/readyz` over plain HTTP: 200, or 503 when a check fails; `?exclude=NAME`, as API servers know it, leaves a check
 * out. Who asks from inside the pod (`kubectl port-forward`, `exec`) gets one line a check, and `/metrics` (Prometheus text); others get those
 * from a MetricsServer. Nothing else is served, and nothing else is read from a request.
 */
export async function serveTelemetry(options: TelemetryOptions): Promise<TelemetryServer> {
  const registry = options.registry ?? processRegistry;
  const server = createServer({ requestTimeout: 10_000, headersTimeout: 10_000 }, (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return answer(response, 405, 'only GET\n');
    const [path, query] = (request.url ?? '').split('?');
    const isLocal = (options.isLocal ?? isLoopback)(request.socket.remoteAddress ?? '');
    switch (path) {
      case '/metrics':
        if (!isLocal) return answer(response, 403, 'metrics are served over TLS, on the port named metrics\n');
        options.beforeMetrics?.();
        registry.metrics().then(
          (text) => answer(response, 200, text, registry.contentType),
          (error: unknown) => answer(response, 500, `${error}\n`),
        );
        return;
      case '/healthz':
        return answerChecks(response, options.live ?? {}, query, isLocal);
      case '/readyz':
        return answerChecks(response, options.ready ?? {}, query, isLocal);
      default:
        answer(response, 404, 'here are /healthz and /readyz\n');
    }
  });
  await listen(server, options.port, options.host);
  const address = server.address();
  return {
    port: address !== null && typeof address === 'object' ? address.port : options.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, port: number, host: string | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function answerChecks(
  response: ServerResponse,
  checks: Record<string, Check>,
  query: string | undefined,
  isLocal: boolean,
): void {
  const excluded = new URLSearchParams(query).getAll('exclude');
  const results = Object.entries(checks)
    .filter(([name]) => !excluded.includes(name))
    .map(([name, check]) => ({ name, problem: check() }));
  const failed = results.some(({ problem }) => problem !== undefined);
  const reasons = results.map(({ name, problem }) => `${name}: ${problem ?? 'ok'}\n`).join('');
  answer(response, failed ? 503 : 200, isLocal && reasons !== '' ? reasons : `${failed ? 'failed' : 'ok'}\n`);
}

function isLoopback(address: string): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}

function answer(response: ServerResponse, status: number, text: string, type = 'text/plain; charset=utf-8'): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(text);
}
