// Opens each page of the command line in Chromium, with axe-core of AXE_HOME, at both widths; prints the findings as JSON.
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const home = process.env.AXE_HOME;
const require = createRequire(join(home, 'package.json'));
const puppeteer = require('puppeteer-core');
const source = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const browser = await puppeteer.launch({executablePath: process.env.CHROMIUM, args: ['--no-sandbox'], headless: true});
const found = [];
for (const file of process.argv.slice(2)) {
  for (const width of [1280, 390]) {
    const page = await browser.newPage();
    await page.setViewport({width, height: 900});
    await page.goto(pathToFileURL(file).href);
    await page.evaluate(source);
    const result = await page.evaluate(() => axe.run(document, {resultTypes: ['violations']}));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    for (const each of result.violations) {
      found.push([file, width, each.id, each.nodes.map(node => node.html).slice(0, 3)]);
    }
    if (wide > width) found.push([file, width, 'the page scrolls sideways', [String(wide)]]);
    await page.close();
  }
}
await browser.close();
console.log(JSON.stringify(found));
