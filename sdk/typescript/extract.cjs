// Reads a project's models and writes them as one JSON document. Run by teal:
//   node extract.cjs --project DIR --models DIR --out FILE
"use strict";
require("./dist/cjs/extract/code-cache.js").load("typescript");
require("./dist/cjs/extract/main.js");
