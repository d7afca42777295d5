import type { z } from 'zod';
import { meshStatus } from '../../src/api/mesh.ts';
import { meshNodeStatus } from '../../src/api/mesh-node.ts';
import { meshSpec } from '../../src/api/mesh-spec.ts';

/** One column of `kubectl get`; those with priority 1 only in `-o wide`. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  readonly priority?: 0 | 1;
}

/** What a CRD says beside its schema. All our kinds are cluster-scoped with a status subresource. */
export interface Kind {
  readonly kind: string;
  readonly singular: string;
  readonly plural: string;
  readonly description: string;
  readonly spec?: { readonly schema: z.ZodType; readonly description: string };
  readonly status: { readonly schema: z.ZodType; readonly description: string };
  readonly columns: readonly PrinterColumn[];
}

const age: PrinterColumn = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'How long the object exists.',
};

const mesh: Kind = {
  kind: 'Mesh',
  singular: 'mesh',
  plural: 'meshes',
  description:
    'Everything an administrator decides about the mesh of this cluster. Only the Mesh named default takes effect.',
  spec: { schema: meshSpec, description: 'What the mesh should be. Every field has a default.' },
  status: { schema: meshStatus, description: 'What the mesh is.' },
  columns: [
    conditionColumn('Accepted', 'Whether the spec can be used.'),
    conditionColumn('Ready', 'Whether everything the spec asks for runs.'),
    { ...conditionColumn('AuthorityReady', 'Whether certificates can be signed.'), name: 'Authority' },
    { name: 'mTLS', type: 'string', jsonPath: '.spec.mtls.mode', description: 'What enrolled pods accept.' },
    podColumn('Secured', '.status.enrolment.pods.secured', 'Pods all of whose traffic goes through the mesh.'),
    podColumn('Pending', '.status.enrolment.pods.pending', 'Pods on their way into the mesh.'),
    podColumn('Failed', '.status.enrolment.pods.failed', 'Pods that should be in the mesh and are not.'),
    podColumn('OptedOut', '.status.enrolment.pods.optedOut', 'Pods in plaintext by their own label.'),
    age,
  ],
};

const meshNode: Kind = {
  kind: 'MeshNode',
  singular: 'meshnode',
  plural: 'meshnodes',
  description: "What the mesh really does on one Node, as that node's agent reports it.",
  status: { schema: meshNodeStatus, description: 'What the agent of the node found and did.' },
  columns: [
    {
      name: 'Proxy',
      type: 'boolean',
      jsonPath: '.status.proxy.ready',
      description: 'Whether the node proxy can serve.',
    },
    podColumn('Secured', '.status.counts.secured', 'Pods all of whose traffic goes through the mesh.'),
    podColumn('Pending', '.status.counts.pending', 'Pods on their way into the mesh.'),
    podColumn('Failed', '.status.counts.failed', 'Pods that should be in the mesh and are not.'),
    podColumn('OptedOut', '.status.counts.optedOut', 'Pods in plaintext by their own label.'),
    {
      name: 'CNI',
      type: 'boolean',
      jsonPath: '.status.cni.installed',
      description: 'Whether new pods start through the Tulle CNI plugin.',
    },
    {
      name: 'Version',
      type: 'string',
      jsonPath: '.status.proxy.version',
      description: 'Version of the node proxy.',
      priority: 1,
    },
    age,
  ],
};

/** The kinds we own, in the order their CRDs are applied. */
export const kinds: readonly Kind[] = [mesh, meshNode];

function conditionColumn(type: string, description: string): PrinterColumn {
  return { name: type, type: 'string', jsonPath: `.status.conditions[?(@.type=="${type}")].status`, description };
}

function podColumn(name: string, jsonPath: string, description: string): PrinterColumn {
  return { name, type: 'integer', jsonPath, description };
}
