import { z } from 'zod';
import type { ObjectMeta } from '../kube/objects.ts';
import { conditions, timestamp } from './conditions.ts';
import type { apiVersion } from './names.ts';

/** How a pod stands: see the description of `status.pods[].state`. */
export const podStates = ['Secured', 'Pending', 'Failed', 'OptedOut'] as const;
export type PodState = (typeof podStates)[number];

const podStatus = z.object({
  uid: z.string().max(128).meta({ description: "The pod's metadata.uid." }),
  namespace: z.string().max(63).meta({ description: "The pod's namespace." }),
  name: z.string().max(253).meta({ description: "The pod's name." }),
  serviceAccount: z
    .string()
    .max(253)
    .meta({ description: "The pod's service account, the last part of its identity." }),
  ips: z
    .array(z.string().max(45).meta({ description: 'One address, IPv4 or IPv6.' }))
    .max(8)
    .default([])
    .meta({ description: "The pod's addresses.", 'x-kubernetes-list-type': 'atomic' }),
  captured: z.boolean().meta({
    description:
      'Whether the redirect rules are in the pod, the proxy listens in it and its certificate is there. ' +
      'From then on peers tunnel to the pod.',
  }),
  state: z.enum(podStates).meta({
    description:
      'Secured: captured, peers are told, and no connection from before the enrolment is left. Pending: on its way ' +
      'there, or out of the mesh. ' +
      'Failed: outside the mesh although it should be in it. OptedOut: in plaintext by its own label, in a namespace ' +
      'that is in the mesh.',
  }),
  reason: z
    .string()
    .max(128)
    .default('')
    .meta({ description: 'Why the state is what it is, as one stable CamelCase word, for example HostNetwork.' }),
  message: z
    .string()
    .max(1024)
    .default('')
    .meta({ description: 'The same for a person to read, with what to do when something is to be done.' }),
  existingConnections: z
    .int()
    .min(0)
    .default(0)
    .meta({ description: 'Open connections that are older than the enrolment and so outside the mesh.' }),
  since: timestamp.meta({ description: 'When the pod came into this state.' }),
});

/** What a node's agent says of one pod. */
export type MeshNodePod = z.output<typeof podStatus>;

/** The status of a MeshNode, written by its node's agent only. Every part is absent until it is known. */
export const meshNodeStatus = z.object({
  agent: z
    .object({ version: z.string().max(64).meta({ description: 'The version of tulle-agent.' }) })
    .optional()
    .meta({ description: 'The agent of this node.' }),
  proxy: z
    .object({
      version: z.string().max(64).meta({ description: 'The version of the proxy.' }),
      ready: z
        .boolean()
        .meta({ description: 'Whether the proxy can serve: configuration, trust bundle and certificates are there.' }),
      trustBundleSha256: z.string().max(64).default('').meta({
        description:
          'SHA-256 of the trust bundle the proxy verifies peers with, lower-case hex; empty when it has none.',
      }),
    })
    .optional()
    .meta({ description: 'The newest proxy connected on this node. Absent when there is none.' }),
  cni: z
    .object({
      installed: z.boolean().meta({ description: 'Whether new pods are started through the Tulle CNI plugin.' }),
      configurationFile: z
        .string()
        .max(512)
        .default('')
        .meta({ description: 'The CNI configuration file of ours on the node; empty when there is none.' }),
      message: z
        .string()
        .max(1024)
        .default('')
        .meta({ description: 'What stands in the way, when it is not installed.' }),
    })
    .optional()
    .meta({ description: 'The CNI plugin on this node.' }),
  counts: z
    .object({
      secured: z.int().min(0).meta({ description: 'Pods in state Secured.' }),
      pending: z.int().min(0).meta({ description: 'Pods in state Pending.' }),
      failed: z.int().min(0).meta({ description: 'Pods in state Failed.' }),
      optedOut: z.int().min(0).default(0).meta({ description: 'Pods in state OptedOut.' }),
    })
    .optional()
    .meta({ description: 'The pods below, counted by state.' }),
  pods: z
    .array(podStatus.meta({ description: 'One pod.' }))
    .max(1024)
    .optional()
    .meta({
      description: 'The pods on this node that are in the mesh, should be, or left it by their own label.',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['uid'],
    }),
  conditions: conditions.optional().meta({
    description:
      'Ready: pods of this node can be enrolled. Released: everything of ours is off this node, after the Mesh was deleted.',
  }),
});

export type MeshNodeStatus = z.output<typeof meshNodeStatus>;

/** A MeshNode as the API server has it; its name is its Node's. It has no spec: it says what is, not what should be. */
export interface MeshNode {
  readonly apiVersion: typeof apiVersion;
  readonly kind: 'MeshNode';
  readonly metadata: ObjectMeta;
  readonly status?: MeshNodeStatus;
}
