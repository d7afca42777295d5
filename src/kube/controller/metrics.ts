import { counter, gauge, histogram } from '../../telemetry/metrics.ts';

export const reconcileTotal = counter('reconcile_total', 'Passes of a controller, by how they ended.', [
  'controller',
  'result',
]);

export const reconcileSeconds = histogram(
  'reconcile_duration_seconds',
  'How long a pass of a controller took.',
  [0.005, 0.02, 0.1, 0.5, 2, 10],
  ['controller'],
);

export const queueDepth = gauge('work_queue_depth', 'Keys that wait for a worker.', ['controller']);

export const leading = gauge('leading', '1 while this replica leads, else 0.');

export const cachedObjects = gauge('cached_objects', 'Objects in the local copy of a collection.', ['path']);
