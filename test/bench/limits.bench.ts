import { step } from '../../hack/steps.ts';
import type { Figure } from './figure.ts';
import { controlTarget } from './limits/control.ts';
import { measureTarget } from './limits/measure.ts';
import { proxyTarget } from './limits/proxy.ts';

/** Programs that are flooded: one more is one more line. */
const targets = [controlTarget, proxyTarget];

/**
 * R37 R38 R39 What floods do to honest callers and to the memory of what is flooded: of tulle-control, by callers without a token,
 * with a forged one, and from one tenant; of tulle-proxy, by strangers, by applications that do not read or write little at a
 * time, and by a log that nobody reads.
 */
export default async function measure(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const start of targets) {
    const target = await start();
    try {
      const floods = `${target.name} under ${target.floods.length} floods`;
      figures.push(...(await step(floods, () => measureTarget(target))));
    } finally {
      await target.stop();
    }
  }
  return figures;
}
