import { CommandError, until } from '../process.ts';
import type { DemoCluster } from './cluster.ts';

const UNREACHABLE = /was refused|connection refused|Unable to connect|timeout|connection reset|unexpected EOF/i;

/**
 * The same cluster, through an outage of its API server: a kubectl that cannot reach it is run again, for as long as
 * `limitMs`. Only for commands that may be repeated, as all of the demo's are.
 */
export function withPatience(cluster: DemoCluster, limitMs = 120_000): DemoCluster {
  return {
    ...cluster,
    kubectl: async (...args) => {
      let output: string | undefined;
      await until(
        `the API server answers kubectl ${args.slice(0, 3).join(' ')}`,
        async () => {
          output = await cluster.kubectl(...args).catch(ignoreUnreachable);
          return output !== undefined;
        },
        { limitMs, everyMs: 1000 },
      );
      return output ?? '';
    },
  };
}

function ignoreUnreachable(err: unknown): undefined {
  if (err instanceof CommandError && UNREACHABLE.test(err.output)) return;
  throw err;
}
