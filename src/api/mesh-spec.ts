import { z } from 'zod';
import { defaultTrustDomain } from './names.ts';
import { type CelRule, withRules } from './rules.ts';

const logLevel = z.enum(['debug', 'info', 'warn', 'error']).default('info');

/** No `..` and no empty segment: the operator mounts it from the node. */
const absolutePath = z
  .string()
  .max(256)
  .regex(/^(\/\.?[A-Za-z0-9_-][A-Za-z0-9._-]*)+$/);

const quantity = z
  .union([z.int(), z.string().regex(/^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$/)])
  .meta({ 'x-kubernetes-int-or-string': true });

const quantities = z.object({
  cpu: quantity.optional().meta({ description: 'Processor time in cores, for example 250m or 2.' }),
  memory: quantity.optional().meta({ description: 'Memory in bytes, for example 128Mi or 1Gi.' }),
});

/** Requests and limits of a container. */
const resources = z.object({
  requests: quantities.optional().meta({ description: 'What the container is guaranteed; the scheduler counts it.' }),
  limits: quantities.optional().meta({ description: 'What the container may use at most.' }),
});

export type Resources = z.output<typeof resources>;

/** SPIFFE-ID section 2.1; the same form `src/ca/x509/spiffe-id.ts` accepts in identities. */
const trustDomainForm: CelRule = {
  rule: "self.matches('^[a-z0-9._-]+$')",
  message:
    'spec.trustDomain must be lower-case letters, digits, dots, dashes and underscores, for example cluster.local or mesh.example.org.',
};

const trustDomainIsImmutable: CelRule = {
  rule: 'self == oldSelf',
  message:
    'spec.trustDomain cannot be changed: every identity in the mesh is named after it. ' +
    'Delete the Mesh and create it again with the new trust domain.',
};

const mtls = z.object({
  mode: z
    .enum(['Permissive', 'Strict'])
    .default('Permissive')
    .meta({
      description:
        'What enrolled pods accept. Permissive: mutual TLS from the mesh and plaintext from outside it. ' +
        'Strict: mutual TLS only. Connections from enrolled pods to what is outside the mesh stay plaintext in both modes.',
    }),
});

const existingConnections = z.object({
  policy: z
    .enum(['End', 'Keep'])
    .default('End')
    .meta({
      description:
        'What happens to connections that were open before their pod was enrolled. End: they are ended after the grace ' +
        'period so that the application reconnects through the mesh. Keep: they stay as they are, unencrypted, and the pod stays Pending.',
    }),
  graceSeconds: z.int().min(0).max(3600).default(30).meta({
    description: 'How long such connections may go on before they are ended, in seconds. No effect with Keep.',
  }),
});

const enrolment = z.object({
  existingConnections: existingConnections
    .prefault({})
    .meta({ description: 'Connections that are older than the enrolment of their pod.' }),
  podOptOut: z
    .enum(['Allowed', 'Denied'])
    .default('Allowed')
    .meta({
      description:
        'Whether a pod may leave the mesh of its namespace by its own label, mesh.tulle.dev/mode=none. Allowed: it may, ' +
        'and is counted and named. Denied: an admission policy refuses that label; pods that have it already keep it.',
    }),
});

const authority = withRules(
  z.object({
    leafTtlSeconds: z.int().min(600).max(2_592_000).default(86_400).meta({
      description:
        'How long a workload certificate is valid, in seconds; proxies renew at half of it. Default one day.',
    }),
    rootTtlSeconds: z.int().min(86_400).max(315_360_000).default(315_360_000).meta({
      description:
        'How long a root certificate is valid, in seconds. Default ten years. Taken when a root is made; a root that exists keeps its own.',
    }),
  }),
  [
    {
      // The API server also holds the rule against the default of the object around it, in which both are still absent.
      cel: '!has(self.rootTtlSeconds) || !has(self.leafTtlSeconds) || self.rootTtlSeconds > self.leafTtlSeconds * 2',
      holds: (value) => value.rootTtlSeconds > value.leafTtlSeconds * 2,
      message:
        'spec.authority.rootTtlSeconds must be more than twice spec.authority.leafTtlSeconds: ' +
        'raise rootTtlSeconds or lower leafTtlSeconds.',
      field: 'rootTtlSeconds',
    },
  ],
);

const control = z.object({
  replicas: z
    .int()
    .min(1)
    .max(10)
    .default(2)
    .meta({ description: 'How many replicas of tulle-control run. All of them serve.' }),
  logLevel: logLevel.meta({ description: 'The least severe level tulle-control logs.' }),
  resources: resources.optional().meta({
    description: 'Requests and limits of the tulle-control container. Default: sized for a few hundred pods.',
  }),
});

const node = z.object({
  engine: z
    .enum(['Tulle', 'Ztunnel'])
    .default('Tulle')
    .meta({
      description:
        "The proxy that runs on every node. Tulle: tulle-proxy. Ztunnel: Istio's ztunnel, which this version does not drive yet " +
        '(the Mesh then says Accepted=False, reason EngineNotSupported).',
    }),
  drainSeconds: z.int().min(0).max(3600).default(30).meta({
    description: 'How long open connections may go on when a proxy is replaced or a pod leaves the mesh, in seconds.',
  }),
  logLevel: logLevel.meta({ description: 'The least severe level tulle-agent and tulle-proxy log.' }),
  cniBinDir: absolutePath
    .default('/opt/cni/bin')
    .meta({ description: 'Directory on the node where the container runtime looks for CNI plugins.' }),
  cniConfDir: absolutePath
    .default('/etc/cni/net.d')
    .meta({ description: 'Directory on the node where the container runtime looks for CNI configuration.' }),
  startupTaint: z
    .enum(['Auto', 'Off'])
    .default('Auto')
    .meta({
      description:
        'Whether a node that joins takes pods before the mesh serves on it. Auto: it gets the taint ' +
        'mesh.tulle.dev/not-ready:NoSchedule when it is created, and loses it when its MeshNode says that the CNI ' +
        'plugin and a proxy serve; nodes older than the Mesh, and nodes on which the mesh has served once, never get ' +
        'it. Off: nodes are not tainted, and pods that start before the agent are enrolled as running ones.',
    }),
  agentResources: resources.optional().meta({ description: 'Requests and limits of the tulle-agent container.' }),
  proxyResources: resources.optional().meta({ description: 'Requests and limits of the tulle-proxy container.' }),
});

const waypoint = z.object({
  replicas: z.int().min(1).max(10).default(2).meta({
    description: 'Replicas of a waypoint that does not say otherwise. No effect until waypoints are deployed.',
  }),
});

/** A DNS label, as names of namespaces are. */
const namespaceForm: CelRule = {
  rule: "self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$')",
  message: 'spec.telemetry.plaintextMetricsFrom must hold names of namespaces, for example monitoring.',
};

const namespaceName = z
  .string()
  .max(63)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, namespaceForm.message)
  .meta({ description: 'The name of a namespace.', 'x-kubernetes-validations': [namespaceForm] });

const telemetry = z.object({
  accessLog: z
    .enum(['All', 'Errors', 'Off'])
    .default('All')
    .meta({ description: 'Which connections the node proxy writes an access-log line for.' }),
  plaintextMetricsFrom: z
    .array(namespaceName)
    .max(16)
    .default([])
    .meta({
      description:
        'Names of namespaces whose pods may read the metrics of tulle-control and tulle-proxy at port 15014, without TLS and ' +
        'without a token. A NetworkPolicy keeps others out, which takes a CNI that enforces those. Empty: nothing listens there.',
      'x-kubernetes-list-type': 'set',
    }),
});

/** The spec of a Mesh. Every field has a default but `version` and the resources. */
export const meshSpec = z.object({
  version: z
    .string()
    .max(64)
    .regex(/^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$/)
    .optional()
    .meta({
      description:
        "The Tulle version to run, for example 0.1.0. Default: the operator's own. An operator installs its own version only; " +
        'with another one the Mesh says Accepted=False, reason VersionNotSupported.',
    }),
  trustDomain: z
    .string()
    .min(1)
    .max(255)
    .regex(/^[a-z0-9._-]+$/, trustDomainForm.message)
    .default(defaultTrustDomain)
    .meta({
      description:
        'The trust domain: the first part of every identity, spiffe://<trustDomain>/ns/<namespace>/sa/<serviceAccount>. ' +
        'Lower-case letters, digits, dots, dashes and underscores, 255 bytes at most. Immutable.',
      'x-kubernetes-validations': [trustDomainForm, trustDomainIsImmutable],
    }),
  mtls: mtls.prefault({}).meta({ description: 'Mutual TLS between workloads.' }),
  enrolment: enrolment.prefault({}).meta({ description: 'How pods come into the mesh.' }),
  authority: authority.prefault({}).meta({ description: 'The authority (CA) that signs workload certificates.' }),
  control: control.prefault({}).meta({ description: 'The control plane, tulle-control.' }),
  node: node.prefault({}).meta({ description: 'What runs on every node: tulle-agent and a proxy.' }),
  waypoint: waypoint
    .prefault({})
    .meta({ description: 'Defaults for waypoints. No effect until waypoints are deployed.' }),
  telemetry: telemetry.prefault({}).meta({ description: 'What the mesh reports about traffic.' }),
});

/** A Mesh's spec after defaults. */
export type MeshSpec = z.output<typeof meshSpec>;
/** A Mesh's spec as a user may write it. */
export type MeshSpecInput = z.input<typeof meshSpec>;

/** One thing wrong with a spec: where (`spec.authority.rootTtlSeconds`) and what. */
export interface Problem {
  readonly field: string;
  readonly message: string;
}

export type ParsedMeshSpec =
  | { readonly spec: MeshSpec; readonly problems?: undefined }
  | { readonly spec?: undefined; readonly problems: readonly Problem[] };

/**
 * Fills in defaults and checks everything the CRD checks, for objects that came from an API server with an older CRD,
 * from a file, or from a test. `undefined` stands for an absent spec.
 */
export function parseMeshSpec(value: unknown): ParsedMeshSpec {
  const result = meshSpec.safeParse(value ?? {});
  if (result.success) return { spec: result.data };
  return {
    problems: result.error.issues.map((issue) => ({
      field: ['spec', ...issue.path.map(String)].join('.'),
      message: issue.message,
    })),
  };
}
