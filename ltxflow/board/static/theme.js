// Before the first paint, so that a chosen theme does not flash.
try {
  const theme = localStorage.getItem("ltxflow-theme");
  if (theme) document.documentElement.dataset.theme = theme;
  const zoom = localStorage.getItem("ltxflow-zoom");
  if (zoom) document.documentElement.dataset.zoom = zoom;
} catch { /* storage is switched off */ }
