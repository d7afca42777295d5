import { gauge } from '../telemetry/metrics.ts';

export const modelWorkloads = gauge('model_workloads', 'Workloads in the mesh model.', ['tunnel']);
export const modelServices = gauge('model_services', 'Services in the mesh model.');
