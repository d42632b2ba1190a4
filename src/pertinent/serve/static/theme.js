// Runs before the first paint, so that a chosen theme does not flash; a classic script for that reason.
(() => {
  const chosen = localStorage.getItem("pertinent-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
