import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../process.ts';
import type { DemoCluster } from './cluster.ts';

/** Packets of one node, as captured so far. */
export interface NodeCapture {
  readonly node: string;
  /** A pcap file's contents. */
  readonly file: Buffer;
  /** Packets the kernel had no room for; known once the recording has ended. */
  readonly dropped: number;
}

/** A running recording of all that passes the nodes' uplinks. */
export interface Recording {
  /** What has been written so far, while the recording goes on. */
  soFar(): NodeCapture[];
  /** Ends the recording and returns the whole of it. */
  end(): Promise<NodeCapture[]>;
}

/** What a recording needs of a cluster. */
export type RecordedCluster = Pick<DemoCluster, 'nodes' | 'inNetworkOf'>;

/** A node's link to the other nodes; pod-to-pod traffic passes it routed, not encapsulated. */
const UPLINK = 'eth0';
/**
 * Whole packets (-s 0), each handed over and written at once (--immediate-mode, -U), so that none is still on its way
 * when the recording ends; 32 MiB of buffer (-B); as root, since the file is (-Z).
 */
const TCPDUMP_OPTIONS = '-n -p -s 0 --immediate-mode -U -B 32768 -Z root'.split(' ');

/** Begins to record on all nodes at once, and returns when every tcpdump listens. */
export async function startRecording(cluster: RecordedCluster): Promise<Recording> {
  const folder = mkdtempSync(join(tmpdir(), 'tulle-capture-'));
  const recorders = await Promise.all(cluster.nodes.map((node) => startRecorder(cluster, node, folder)));
  return {
    soFar: () => recorders.map(({ node, file }) => ({ node, file: readFileSync(file), dropped: 0 })),
    end: async () => {
      const captures = await Promise.all(recorders.map((recorder) => recorder.end()));
      rmSync(folder, { recursive: true, force: true });
      return captures;
    },
  };
}

async function startRecorder(cluster: RecordedCluster, node: string, folder: string) {
  const file = join(folder, `${node}.pcap`);
  const [command = '', ...prefix] = await cluster.inNetworkOf(node);
  const tcpdump = ['tcpdump', '-i', UPLINK, ...TCPDUMP_OPTIONS, '-w', file, 'ip or ip6'];
  const child = spawn(command, [...prefix, ...tcpdump], { stdio: ['ignore', 'ignore', 'pipe'] });
  let messages = '';
  child.stderr.on('data', (chunk: Buffer) => {
    messages += chunk.toString();
  });
  child.on('error', (err) => {
    messages += String(err);
  });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const stopWithUs = () => {
    child.kill('SIGTERM');
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', stopWithUs);
  await until(
    `tcpdump listens on ${node}`,
    () => {
      if (child.exitCode !== null || child.pid === undefined)
        throw new Error(`tcpdump on ${node} ended at once: ${messages}`);
      return messages.includes('listening on') && existsSync(file) && statSync(file).size > 0;
    },
    { limitMs: 10_000, explain: () => messages },
  );
  return {
    node,
    file,
    end: async (): Promise<NodeCapture> => {
      child.kill('SIGINT'); // tcpdump writes out what it holds and prints its counts
      await ended;
      process.off('exit', stopWithUs);
      return { node, file: readFileSync(file), dropped: droppedPackets(messages) };
    },
  };
}

/** Reads tcpdump's closing line `N packets dropped by kernel`; throws when it is not there. */
export function droppedPackets(messages: string): number {
  const found = /(\d+) packets? dropped by kernel/.exec(messages)?.[1];
  if (found === undefined) throw new Error(`tcpdump did not end properly: ${messages}`);
  return Number(found);
}
