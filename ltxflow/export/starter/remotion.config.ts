import { Config } from "@remotion/cli/config";
import place from "./ltxflow.json";

Config.setEntryPoint("./src/index.ts");
Config.setPublicDir(place.publicDir); // the film's own: nothing is copied, and Studio sees every build
Config.setColorSpace("bt709"); // what the clips are in; Remotion's own default is bt601
Config.setJpegQuality(95);
Config.setOverwriteOutput(true);

// Remotion downloads a browser unless one is named: CHROME_PATH=/usr/bin/chromium npm run render
if (process.env.CHROME_PATH) {
  Config.setBrowserExecutable(process.env.CHROME_PATH);
}
