import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { version } from '../../../hack/images/images.ts';

const folder = join(import.meta.dirname, '../../../config/samples/shop');
const read = (name: string) => readFileSync(join(folder, name), 'utf8');
const { resources } = z.object({ resources: z.array(z.string()) }).parse(parse(read('kustomization.yaml')));

const probe = z.object({}).loose();
const container = z.object({
  name: z.string(),
  image: z.string(),
  readinessProbe: probe,
  livenessProbe: probe,
  resources: z.object({
    requests: z.object({ cpu: z.string(), memory: z.string() }),
    limits: z.object({ memory: z.string() }),
  }),
  securityContext: z.object({
    allowPrivilegeEscalation: z.literal(false),
    readOnlyRootFilesystem: z.literal(true),
    capabilities: z.object({ drop: z.tuple([z.literal('ALL')]) }),
  }),
});
const deployment = z.object({
  kind: z.literal('Deployment'),
  metadata: z.object({ name: z.string() }),
  spec: z.object({
    replicas: z.number(),
    template: z.object({
      metadata: z.object({ labels: z.record(z.string(), z.string()) }),
      spec: z.object({
        serviceAccountName: z.string(),
        securityContext: z.object({
          runAsNonRoot: z.literal(true),
          seccompProfile: z.object({ type: z.literal('RuntimeDefault') }),
        }),
        topologySpreadConstraints: z
          .array(z.object({ topologyKey: z.string(), whenUnsatisfiable: z.string() }))
          .optional(),
        containers: z.array(container),
      }),
    }),
  }),
});

const objects = resources.flatMap((name) => parseAllDocuments(read(name)).map((document) => document.toJS()));
const deployments = objects.filter(({ kind }) => kind === 'Deployment').map((object) => deployment.parse(object));

describe('the manifests of the shop', () => {
  it('run every part under a ServiceAccount of its own, without rights and without a token', () => {
    assert.deepEqual(deployments.map(({ metadata }) => metadata.name).sort(), ['cart', 'redis', 'visitor', 'web']);
    for (const { metadata, spec } of deployments) {
      assert.equal(spec.template.spec.serviceAccountName, metadata.name);
      const account = objects.find(
        ({ kind, metadata: { name } }) => kind === 'ServiceAccount' && name === metadata.name,
      );
      assert.equal(account?.automountServiceAccountToken, false);
    }
  });

  it('start outside the mesh: nothing carries a label of it', () => {
    assert.ok(!JSON.stringify(objects).includes('mesh.tulle.dev'));
    assert.deepEqual(objects.find(({ kind }) => kind === 'Namespace')?.metadata, { name: 'shop' });
  });

  it('put replicas on different nodes, so that calls cross between them', () => {
    for (const { metadata, spec } of deployments.filter(({ spec: { replicas } }) => replicas > 1)) {
      const [spread] = spec.template.spec.topologySpreadConstraints ?? [];
      assert.deepEqual(
        spread,
        { topologyKey: 'kubernetes.io/hostname', whenUnsatisfiable: 'DoNotSchedule' },
        metadata.name,
      );
    }
  });

  it('use images of the version that is built here', () => {
    const images = new Set(deployments.flatMap(({ spec }) => spec.template.spec.containers.map(({ image }) => image)));
    assert.deepEqual([...images].sort(), [`tulle.dev/sample-redis:${version}`, `tulle.dev/sample-shop:${version}`]);
  });
});
