import { globSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { root } from '../../hack/cache.ts';
import { main } from '../../hack/steps.ts';
import { type Figure, table } from './figure.ts';

/** `make bench [ONLY=area]`: runs the areas, prints a table of each and writes build/bench/<area>.json. */
await main(async () => {
  const only = process.env.ONLY ?? '';
  const files = globSync('test/bench/*.bench.ts', { cwd: root }).sort();
  const areas = files.map((file) => ({ area: basename(file, '.bench.ts'), file: join(root, file) }));
  const wanted = areas.filter(({ area }) => only === '' || area === only);
  if (wanted.length === 0) {
    throw new Error(`ONLY=${only}: no such area; there are ${areas.map(({ area }) => area).join(', ')}`);
  }
  mkdirSync(join(root, 'build/bench'), { recursive: true });
  for (const { area, file } of wanted) {
    console.log(`\n== ${area}`);
    const { default: measure }: { default: () => Promise<Figure[]> } = await import(file);
    const figures = await measure();
    writeFileSync(join(root, 'build/bench', `${area}.json`), `${JSON.stringify(figures, null, 2)}\n`);
    console.log(`\n${table(figures)}`);
  }
});
