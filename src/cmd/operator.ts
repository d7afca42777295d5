/** Entry point of tulle-operator; its environment is in `operatorSettings`. */
import { KubeConfig } from '@kubernetes/client-node';
import { components, fieldManagers, systemNamespace } from '../api/names.ts';
import { selfSigned } from '../ca/x509/self-signed.ts';
import { MeshOperator } from '../operator/operator.ts';
import { operatorSettings } from '../operator/settings.ts';
import { createLogger } from '../telemetry/logger.ts';
import { exposeProcessMetrics } from '../telemetry/metrics.ts';

/** Long enough for the passes that run to end, shorter than the pod's termination grace period, ms. */
const STOP_WITHIN_MS = 20_000;

const log = createLogger('operator');

async function main(): Promise<void> {
  exposeProcessMetrics();
  const { release, instance, telemetryPort, metricsPort } = operatorSettings(process.env);
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromDefault();
  const operator = new MeshOperator({
    kubeConfig,
    log,
    fieldManager: fieldManagers.operator,
    election: { namespace: systemNamespace, name: components.operator, identity: instance },
    telemetryPort,
    metrics: { port: metricsPort, keyPair: selfSigned(components.operator, Date.now()) },
    release,
    instance,
    // Kubernetes starts it again.
    onOtherServer: () => stop({ why: 'another API server' }),
  });
  const stop = (why: object) => {
    log.info(why, 'stopping');
    stopping = true;
    const late = setTimeout(() => end(new Error(`not stopped within ${STOP_WITHIN_MS} ms`)), STOP_WITHIN_MS);
    operator.stop().then(() => clearTimeout(late), end);
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop({ signal }));
  log.info({ version: release.version, instance }, 'starting');
  await operator.start();
}

/** Whether this process is to end: what fails then, fails because of it. */
let stopping = false;

function end(error: unknown): void {
  log.error({ err: error }, 'the operator cannot go on');
  process.exit(1);
}

main().catch((error: unknown) => {
  if (!stopping) end(error);
});
