import { step } from '../../hack/steps.ts';
import type { Figure } from './figure.ts';
import { controlTarget } from './limits/control.ts';
import { measureTarget } from './limits/measure.ts';

/** Programs that are flooded: one more is one more line. */
const targets = [controlTarget];

/**
 * R37 R38 What floods from callers without a token, with a forged one, and from one tenant do to honest callers and to the memory
 * of what is flooded.
 */
export default async function measure(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const start of targets) {
    const target = await start();
    try {
      const floods = `${target.name} under ${target.floods.length} floods`;
      figures.push(...(await step(floods, () => measureTarget(target, { warmUpMs: 5_000, measureMs: 12_000 }))));
    } finally {
      await target.stop();
    }
  }
  return figures;
}
