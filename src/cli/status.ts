import { type Command, Option } from 'commander';
import type { Mesh } from '../api/mesh.ts';
import type { MeshNode } from '../api/mesh-node.ts';
import { meshesPath, meshName, meshNodesPath } from '../api/names.ts';
import { TulleError } from '../errors/tulle-error.ts';
import { isForbidden, isNotFound, type KubeClient } from '../kube/client/client.ts';
import type { KubeObject } from '../kube/objects.ts';
import { type ClusterChoice, connect } from './connect.ts';
import { statusReport, statusText } from './status-report.ts';
import type { Surroundings } from './surroundings.ts';

interface StatusOptions extends ClusterChoice {
  readonly namespace?: string;
  readonly output: 'text' | 'json';
}

/** `tulle status`: what is secured, and what is not and why, as the nodes report it. */
export function addStatus(program: Command, { env, write, now }: Surroundings): void {
  program
    .command('status')
    .description('show which pods are secured, as the nodes that do it report it')
    .option('-n, --namespace <name>', 'only the pods of this namespace')
    .addOption(new Option('-o, --output <form>', 'form of the answer').choices(['text', 'json']).default('text'))
    .action(async (_, command: Command) => {
      const options = command.optsWithGlobals<StatusOptions>();
      const client = connect(options, env);
      try {
        const { mesh, meshNodes } = await readMesh(client);
        if (options.namespace !== undefined) await checkNamespace(client, options.namespace);
        const report = statusReport(mesh, meshNodes, options.namespace);
        write(options.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : statusText(report, now()));
      } finally {
        await client.close();
      }
    });
}

async function readMesh(client: KubeClient): Promise<{ mesh: Mesh; meshNodes: readonly MeshNode[] }> {
  const notInstalled = (error: unknown): never => {
    if (!isNotFound(error)) throw error;
    const message = 'Tulle is not installed in this cluster, or only in part: it does not know Mesh and MeshNode.';
    throw new TulleError('NotInstalled', message, {
      fix: 'Install it: make install, or kubectl apply -k config',
      cause: error,
    });
  };
  const meshes = await client.listAll<Mesh>(meshesPath).catch(notInstalled);
  const mesh = meshes.find(({ metadata }) => metadata.name === meshName);
  if (mesh === undefined) {
    throw new TulleError('MeshAbsent', `There is no Mesh named ${meshName}, so nothing is in the mesh.`, {
      fix: 'Make one: kubectl apply -f config/samples/mesh.yaml',
    });
  }
  return { mesh, meshNodes: await client.listAll<MeshNode>(meshNodesPath).catch(notInstalled) };
}

/** Names a namespace that is not there: else it looks like one without pods. */
async function checkNamespace(client: KubeClient, name: string): Promise<void> {
  const path = `/api/v1/namespaces/${encodeURIComponent(name)}`;
  const namespace = await client.find<KubeObject>(path).catch((error: unknown) => {
    if (isForbidden(error)) return 'unseen' as const; // whoever may see meshes only is shown those
    throw error;
  });
  if (namespace !== undefined) return;
  throw new TulleError('NamespaceAbsent', `There is no namespace ${name}.`, {
    fix: 'See which there are: kubectl get namespaces',
  });
}
