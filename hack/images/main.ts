import { main, note, step } from '../steps.ts';
import { buildImages, imageNames } from './images.ts';

/** `make images`: builds every image, or the ones named, and reports their sizes. */
await main(async () => {
  const wanted = process.argv.slice(2);
  for (const name of wanted.length > 0 ? wanted : imageNames) {
    await step(`Image ${name}`, async (report) => {
      for (const image of await buildImages([name], report)) {
        note(`${image.tag}: ${(image.bytes / 1e6).toFixed(0)} MB, ${image.archive}`);
      }
    });
  }
});
