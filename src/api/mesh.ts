import { z } from 'zod';
import type { ObjectMeta } from '../kube/objects.ts';
import { conditions, timestamp } from './conditions.ts';
import type { MeshSpecInput } from './mesh-spec.ts';
import type { apiVersion } from './names.ts';

export { type MeshSpec, type MeshSpecInput, type ParsedMeshSpec, type Problem, parseMeshSpec } from './mesh-spec.ts';

const readiness = z.object({
  ready: z.int().min(0).meta({ description: 'Pods that are ready and run the current revision.' }),
  desired: z.int().min(0).meta({ description: 'Pods there should be.' }),
});

const rollout = z.object({
  control: readiness.optional().meta({ description: 'The Deployment tulle-control.' }),
  agent: readiness.optional().meta({ description: 'The DaemonSet tulle-agent.' }),
  proxy: readiness.optional().meta({ description: 'The DaemonSet tulle-proxy.' }),
});

const enrolmentCounts = z.object({
  namespaces: z.int().min(0).meta({ description: 'Namespaces labelled into the mesh.' }),
  pods: z
    .object({
      secured: z
        .int()
        .min(0)
        .meta({ description: 'Pods all of whose traffic goes through the mesh, with nothing older left.' }),
      pending: z.int().min(0).meta({ description: 'Pods on their way in, or with existing connections.' }),
      failed: z
        .int()
        .min(0)
        .meta({ description: 'Pods that should be in the mesh and are not; their MeshNode says why.' }),
      optedOut: z
        .int()
        .min(0)
        .default(0)
        .meta({ description: 'Pods that are left in plaintext by their own label; Enrolled names them.' }),
    })
    .meta({ description: 'Pods of those namespaces, as their nodes report them.' }),
});

/** The life of one authority; see `src/ca/authority/state.ts` for the state machine. */
export const authorityStates = ['prepared', 'active', 'retiring'] as const;
export type AuthorityPhase = (typeof authorityStates)[number];

const authorityStatus = z.object({
  trustDomain: z.string().meta({ description: 'The trust domain the authority signs for.' }),
  bundleSha256: z
    .string()
    .meta({ description: 'SHA-256 of the trust bundle every proxy should have, lower-case hex.' }),
  authorities: z
    .array(
      z
        .object({
          id: z.string().meta({ description: "The authority's subject key identifier, lower-case hex." }),
          state: z.enum(authorityStates).meta({
            description: 'prepared: trusted, does not sign yet. active: signs. retiring: trusted, signs no more.',
          }),
          notAfter: timestamp.meta({ description: 'When the root certificate expires.' }),
        })
        .meta({ description: 'One authority.' }),
    )
    .max(8)
    .meta({
      description: 'The authorities in the trust bundle.',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['id'],
    }),
});

/** The status of a Mesh. Every part is absent until the first one who knows has written it. */
export const meshStatus = z.object({
  observedGeneration: z
    .int()
    .min(0)
    .optional()
    .meta({ description: 'The metadata.generation the operator last acted on.' }),
  conditions: conditions.optional().meta({
    description:
      'Accepted: the spec can be used. Ready: everything it asks for runs. Enrolled: every pod labelled in is secured, ' +
      'and which pods opted out. ' +
      'AuthorityReady: certificates can be signed. Removing: what is being taken away, while the Mesh is deleted.',
  }),
  rollout: rollout.optional().meta({ description: 'How far the parts of Tulle are rolled out.' }),
  enrolment: enrolmentCounts.optional().meta({ description: 'What is in the mesh.' }),
  authority: authorityStatus.optional().meta({ description: 'The authority (CA) and the progress of a rotation.' }),
});

export type MeshStatus = z.output<typeof meshStatus>;

/** A Mesh as the API server has it. Use `parseMeshSpec(mesh.spec)` for the spec with defaults. */
export interface Mesh {
  readonly apiVersion: typeof apiVersion;
  readonly kind: 'Mesh';
  readonly metadata: ObjectMeta;
  readonly spec?: MeshSpecInput;
  readonly status?: MeshStatus;
}
