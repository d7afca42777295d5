/** Entry point of tulle-control; its environment is in `controlSettings`. */

import { ControlReplica } from '../control/replica.ts';
import { controlSettings } from '../control/settings.ts';
import { KubeClient } from '../kube/client/client.ts';
import { createLogger } from '../telemetry/logger.ts';
import { exposeProcessMetrics } from '../telemetry/metrics.ts';

/** Shorter than the pod's termination grace period, ms. */
const stopWithinMs = 20_000;

const log = createLogger('control');

async function main(): Promise<void> {
  exposeProcessMetrics();
  const settings = controlSettings(process.env);
  const client = KubeClient.fromEnvironment({ userAgent: 'tulle-control' });
  const replica = new ControlReplica({ client, settings, log });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'stopping');
      setTimeout(() => end(new Error(`not stopped within ${stopWithinMs} ms`)), stopWithinMs).unref();
      replica
        .stop()
        .then(() => client.close())
        .catch(end);
    });
  }
  log.info({ trustDomain: settings.trustDomain, instance: settings.instance }, 'starting');
  await replica.start();
}

function end(error: unknown): void {
  log.error({ err: error }, 'tulle-control cannot go on');
  process.exit(1);
}

main().catch(end);
