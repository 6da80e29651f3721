// `node failed-files.mjs REPORT`: prints the test files of a stage that are worth a second run, one a line. None if too
// many files failed for chance, or if something failed that belongs to no file. Runs on any Node since 18.
import { existsSync, readFileSync } from 'node:fs';

const MOST = 3;

const report = process.argv[2];
const files = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {};
const failed = Object.keys(files).filter((file) => files[file].failures.length > 0);
if (failed.length <= MOST && !failed.includes('')) for (const file of failed) console.log(file);
