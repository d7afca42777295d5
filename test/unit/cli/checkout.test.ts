import { match, rejects } from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from '../../../hack/cache.ts';
import { run } from '../../../hack/process.ts';

describe('bin/tulle', () => {
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tulle-bin-'));
  });

  after(() => rm(folder, { recursive: true }));

  it('runs the command line of its checkout, from anywhere and by a link', async () => {
    const link = join(folder, 'tulle');
    await symlink(join(root, 'bin/tulle'), link);
    match(await run(link, ['version'], { cwd: folder }), /^tulle \d+\.\d+\.\d+/);
  });

  it('says how to set up a checkout that is not', async () => {
    await mkdir(join(folder, 'bin'));
    await copyFile(join(root, 'bin/tulle'), join(folder, 'bin/tulle'));
    await rejects(run(join(folder, 'bin/tulle'), ['version']), /Run 'make setup' in .*tulle-bin-/);
  });
});
