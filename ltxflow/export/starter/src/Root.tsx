import { useEffect } from "react";
import { reevaluateComposition, watchStaticFile } from "@remotion/studio";
import { Composition, getRemotionEnvironment } from "remotion";
import { Film } from "./Film";
import { DEFAULTS, calculateMetadata, filmSchema } from "./film-props";
import { TIMELINE } from "./load";

export const Root: React.FC = () => {
  // `ltxflow build` writes the timeline last: when it changes, everything it names is in place.
  useEffect(() => {
    if (!getRemotionEnvironment().isStudio) {
      return undefined;
    }
    return watchStaticFile(TIMELINE, () => reevaluateComposition()).cancel;
  }, []);

  return (
    <Composition
      id="Film"
      component={Film}
      schema={filmSchema}
      defaultProps={DEFAULTS}
      calculateMetadata={calculateMetadata}
    />
  );
};
