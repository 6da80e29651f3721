import { readFileSync } from 'node:fs';

/** The version of this package. `package.json` lies two levels up from both `src/app` and `dist/app`. */
export const VERSION: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
