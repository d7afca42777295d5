import { maxNodes } from './layout.ts';

/** The number of nodes asked for by NODES. */
export function nodeCount(text: string | undefined): number {
  const nodes = text === undefined || text === '' ? 2 : Number(text);
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > maxNodes)
    throw new Error(`NODES=${text}: give a number from 1 to ${maxNodes}`);
  return nodes;
}
