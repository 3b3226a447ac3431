"""The paper's two studies: sampling speed (Fig. 7) and interpolation (Figs. 11 and 12)."""
